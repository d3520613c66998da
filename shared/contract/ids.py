"""Identifiers: UUIDv7 (RFC 9562 section 5.7), so that new rows are adjacent in an index."""

from uuid import UUID

from uuid_utils.compat import uuid7

__all__ = ["UUID", "uuid7"]
