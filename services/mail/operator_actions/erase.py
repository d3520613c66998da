"""Erases a person: removes personal data in one commit, and keeps the record and state of each mail.

The client, the request ID and the fingerprint stay for ever, because they keep a late replay from sending again (P4).
A suppression that a bounce or refusal of these mails caused is deleted with them. One that an operator or the person
(by complaining) asked for is a wish not to be mailed, and stays.
"""

from collections.abc import Mapping

import asyncpg
import orjson

from shared.contract.addresses import key_of
from shared.contract.principals import Principal
from shared.db.pool import Database

from ..ledger import listing
from . import queries

# Deliveries settle batches in another order. An erasure that deadlocks with one runs again, and so does one that meets
# a new mail with the same attachment.
_MAX_TRIES = 5


async def erase_address(database: Database, principal: Principal, email: str) -> int:
    """Erase the caller's mails to this normalized address, or all with `mails:all`. Committed. Returns how many."""
    return await _erase(database, queries.ERASE_BY_ADDRESS, key_of(email), principal)


async def erase_matching(database: Database, principal: Principal, metadata: Mapping[str, str | int | bool]) -> int:
    """As `erase_address`, for the mails whose metadata holds all of these pairs."""
    return await _erase(database, queries.ERASE_BY_METADATA, orjson.dumps(metadata).decode(), principal)


async def _erase(database: Database, query: str, selector: str, principal: Principal) -> int:
    for left in reversed(range(_MAX_TRIES)):
        try:
            return len(await database.pool.fetch(query, selector, listing.client_scope(principal), principal.actor))
        except (asyncpg.DeadlockDetectedError, asyncpg.ForeignKeyViolationError):
            if not left:
                raise
    raise AssertionError("the last try returns or raises")
