"""What the OpenAPI documents teach beside the bare schemas: texts, examples, links, webhooks.

Everything here is imported when a document is first asked for, so it must not be imported by what serves requests. What
belongs to one service is in its own `http/document/`.
"""
