"""Erasing a person: what is personal goes, in one commit; that there was a mail, and what became of it, stays.

The client, the request ID and the fingerprint stay for ever, because they are what keeps a late replay from sending
again (P4). An address learned to be dead from one of these mails is forgotten with them; a suppression that somebody
asked for, an operator or the person by complaining, is a wish not to be mailed, and outlives the mails.
"""

from collections.abc import Mapping

import asyncpg
import orjson

from shared.contract.addresses import key_of
from shared.db.pool import Database
from shared.http.authentication import Principal

from ..ledger import listing
from . import queries

# Deliveries settle in batches of another order; one that meets them just has to run again.
_TRIES = 5


async def erase_address(database: Database, principal: Principal, email: str) -> int:
    """How many mails to this (normalised) address were erased: the caller's own, unless it may see all. Committed."""
    return await _erase(database, queries.ERASE_BY_ADDRESS, key_of(email), principal)


async def erase_matching(database: Database, principal: Principal, metadata: Mapping[str, str | int | bool]) -> int:
    """As `erase_address`, for the mails whose metadata holds all of these pairs."""
    return await _erase(database, queries.ERASE_BY_METADATA, orjson.dumps(metadata).decode(), principal)


async def _erase(database: Database, query: str, what: str, principal: Principal) -> int:
    for left in reversed(range(_TRIES)):
        try:
            return len(await database.pool.fetch(query, what, listing.client_scope(principal), principal.actor))
        except asyncpg.DeadlockDetectedError:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")
