"""How both APIs handle requests: middleware, routing, authentication, pagination, OpenAPI, operator endpoints.

Routes of one service and decisions about users or mails must not come in.
"""
