"""How both APIs read requests and write answers: middleware, routing, authentication, pagination, OpenAPI, operations.

A route of one service must not come in, nor any decision about users or mails.
"""
