"""What clients read of the ledger: one mail, its details, and mails by request ID. `mail_list` filters."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.contract.problems import NotFound
from shared.db.pool import Database

from . import attachment_queries, queries
from .mail_resource import as_resource

SEE_ALL = "mails:all"


def client_scope(principal: Principal) -> str | None:
    """The client whose mails the caller may see: its own, or None for all clients with the scope `mails:all`."""
    return None if SEE_ALL in principal.scopes else principal.client


async def find_mail(database: Database, principal: Principal, mail_id: UUID) -> dict[str, Any]:
    """One mail.

    Raises:
        NotFound: there is none, or it belongs to another client.
    """
    row = await database.pool.fetchrow(queries.FIND_MAIL, mail_id, client_scope(principal))
    if row is None:
        raise NotFound("There is no such mail.")
    return as_resource(row)


@dataclass(frozen=True)
class LookedUp:
    """Mails by request ID, and what is kept of missing ones whose row was deleted."""

    found: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: Sequence[str] = ()
    lost: dict[str, dict[str, Any]] = field(default_factory=dict)


async def look_up(database: Database, principal: Principal, request_ids: Sequence[str], client: str | None) -> LookedUp:
    """Look up request IDs among the mails that the caller may see."""
    unique_ids = list(dict.fromkeys(request_ids))
    scope = client_scope(principal)
    if scope is None:
        scope = client
    elif client is not None and client != scope:
        return LookedUp(missing=unique_ids)
    rows = await database.pool.fetch(queries.LOOK_UP, unique_ids, scope, principal.client)
    found = {row["request_id"]: as_resource(row) for row in rows}
    missing = [request_id for request_id in unique_ids if request_id not in found]
    lost = await database.pool.fetch(queries.LOOK_UP_LOST, missing, scope, principal.client) if missing else []
    return LookedUp(found, missing, {row["request_id"]: dict(row) for row in lost})


async def content_of(database: Database, mail_id: UUID) -> dict[str, Any] | None:
    """The content as pinned at accept, byte for byte, without the bytes of attachments; None once it is wiped."""
    row = await database.pool.fetchrow(queries.FIND_CONTENT, mail_id)
    if row is None:
        return None
    attachments = await database.pool.fetchval(attachment_queries.LIST_ATTACHMENTS, mail_id)
    return {**dict(row), "headers": orjson.Fragment(row["headers"]), "attachments": orjson.Fragment(attachments)}


async def attempts_of(database: Database, mail_id: UUID, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit + 1` attempts, newest first."""
    return [dict(row) for row in await database.pool.fetch(queries.ATTEMPTS, mail_id, before, limit + 1)]


async def history_of(database: Database, mail_id: UUID, cursor: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit + 1` entries, newest first."""
    rows = await database.pool.fetch(queries.HISTORY_OF_MAIL, str(mail_id), cursor, limit + 1)
    return [{**dict(row), "detail": orjson.Fragment(row["detail"])} for row in rows]
