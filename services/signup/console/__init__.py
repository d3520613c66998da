"""The operators' console at `/console`: pages on a server, for a browser (ADR 0037).

It shows what the APIs of both services know, and does what their keys may do: signup's use cases are called here, the
mail service by HTTP with the operator's key. `mount` is all that the API loads when it starts; the first request loads
the rest. Nothing of the service imports the console, and no page writes SQL that changes a row.
"""
