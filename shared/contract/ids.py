"""Identifiers: UUIDv7 (RFC 9562 section 5.7), so that new rows land side by side in an index."""

from uuid import UUID

from uuid_utils.compat import uuid7

__all__ = ["UUID", "uuid7"]
