"""The OpenAPI documents as tools read them: a validator, linters, and generators of clients (docs/openapi.md)."""
