"""API keys: their format, how they are minted, and the table that both services store them in.

A key is `cf_<keyid>_<secret><crc>`. Secret scanners recognize the prefix, and the checksum refuses a mistyped key
without a query. Only the SHA-256 is stored (the secret has 256 random bits, so it needs no stretching).
"""

import hashlib
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from .pool import Connection

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

_SECRET_LENGTH = 43  # 62**43 > 2**256

_CRC_LENGTH = 6  # 62**6 > 2**32

_ID_LENGTH = 12


@dataclass(frozen=True, slots=True)
class ApiKey:
    key_id: str
    text: str

    @property
    def hash(self) -> bytes:
        return hashlib.sha256(self.text.encode()).digest()


def _base62(number: int, length: int) -> str:
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits = _ALPHABET[digit] + digits
    return digits


def mint() -> ApiKey:
    key_id = "".join(secrets.choice(_ALPHABET) for _ in range(_ID_LENGTH))
    body = f"cf_{key_id}_" + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_LENGTH))
    return ApiKey(key_id, body + _checksum(body))


def parse(text: str) -> ApiKey | None:
    """The key in `text`, or None when its form or checksum is wrong."""
    prefix, _, rest = text.partition("_")
    key_id, _, secret = rest.partition("_")
    if prefix != "cf" or len(key_id) != _ID_LENGTH or len(secret) != _SECRET_LENGTH + _CRC_LENGTH:
        return None
    if not (text.isascii() and (key_id + secret).isalnum()):
        return None
    if _checksum(text[:-_CRC_LENGTH]) != text[-_CRC_LENGTH:]:
        return None
    return ApiKey(key_id, text)


def _checksum(body: str) -> str:
    return _base62(zlib.crc32(body.encode()), _CRC_LENGTH)


FIND_KEY = """
SELECT id, client, scopes, key_hash, expires_at, revoked_at FROM api_keys WHERE id = $1
"""

# Storing the same key again changes nothing, unless its client or scopes differ.
UPSERT_KEY = """
WITH kept AS (
    INSERT INTO api_keys (id, client, scopes, key_hash, expires_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (id) DO UPDATE SET client = excluded.client, scopes = excluded.scopes
    WHERE api_keys.key_hash = excluded.key_hash
      AND (api_keys.client, api_keys.scopes) IS DISTINCT FROM (excluded.client, excluded.scopes)
    RETURNING id, client, scopes
)
INSERT INTO history (kind, subject, related, actor, detail)
SELECT 'key.created', id, ARRAY[client], $6, jsonb_build_object('scopes', scopes) FROM kept
"""

REVOKE_LIVE_KEY = """
WITH ended AS (
    UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL RETURNING id, client
)
INSERT INTO history (kind, subject, related, actor, detail)
SELECT 'key.revoked', id, ARRAY[client], $2, '{}'::jsonb FROM ended RETURNING subject
"""

LIST_KEYS = """
SELECT id, client, scopes, created_at, expires_at, revoked_at FROM api_keys ORDER BY client, created_at
"""

COUNT_LIVE_KEYS = """
SELECT count(*) FROM api_keys
WHERE client = $1 AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
"""


async def store(
    connection: Connection, key: ApiKey, *, client: str, scopes: Sequence[str], days: int | None, actor: str
) -> None:
    """Store the hash of `key` and record it in history. Committed when this returns."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    await connection.execute(UPSERT_KEY, key.key_id, client, sorted(set(scopes)), key.hash, expires_at, actor)
