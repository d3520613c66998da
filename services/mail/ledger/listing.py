"""Clients' queries of the ledger: which mails were requested and sent."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import orjson
import sqlalchemy as sa

from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.db.pool import Database
from shared.http.authentication import Principal

from ..tables import RARE_STATES, contents, mails
from . import queries
from .mail_resource import COLUMNS, as_resource

SEE_ALL = "mails:all"


def client_scope(principal: Principal) -> str | None:
    """The client whose mails the caller may see: its own, or None for all clients with the scope `mails:all`."""
    return None if SEE_ALL in principal.scopes else principal.client


@dataclass(frozen=True)
class Filters:
    """The filters of GET /v1/mails: different ones combine with AND, several of one name with OR."""

    request_ids: Sequence[str] = ()
    to_keys: Sequence[str] = ()
    states: Sequence[str] = ()
    templates: Sequence[str] = ()
    clients: Sequence[str] = ()
    tags: Sequence[str] = ()
    metadata: dict[str, list[str]] = field(default_factory=dict)
    accepted_after: datetime | None = None
    accepted_before: datetime | None = None
    sent_after: datetime | None = None
    sent_before: datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        m = mails.c
        among = [
            (m.request_id, self.request_ids),
            (m.to_key, self.to_keys),
            # Rare states have an index: see the first revision.
            (m.rare_state if set(self.states) <= set(RARE_STATES) else m.state, self.states),
            (m.template, self.templates),
            (m.client, self.clients),
        ]
        conditions: list[sa.ColumnElement[bool]] = [column.in_(values) for column, values in among if values]
        if self.tags:
            conditions.append(m.tags.overlap(list(self.tags)))
        for key, values in self.metadata.items():
            conditions.append(sa.or_(*(m.metadata.contains({key: v}) for text in values for v in _as_json(text))))
        bounds = [
            (self.accepted_after, m.accepted_at.__ge__),
            (self.accepted_before, m.accepted_at.__lt__),
            (self.sent_after, m.sent_at.__ge__),
            (self.sent_before, m.sent_at.__lt__),
        ]
        conditions += [compare(timestamp) for timestamp, compare in bounds if timestamp is not None]
        return conditions


def _as_json(text: str) -> list[Any]:
    """All that a metadata value in a query string may mean: a string, and a number or boolean if it reads as one."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return [text]
    return [text, value] if isinstance(value, bool | int | float) else [text]


async def list_mails(
    database: Database, principal: Principal, filters: Filters, *, cursor: UUID | None, limit: int
) -> list[dict[str, Any]]:
    """Up to `limit + 1` mails that the caller may see, newest first."""
    m, c = mails.alias("m"), contents.alias("c")
    matching = sa.select(mails.c.id).where(*filters.conditions()).order_by(mails.c.id.desc()).limit(limit + 1)
    client = client_scope(principal)
    if client is not None:
        matching = matching.where(mails.c.client == client)
    if cursor is not None:
        matching = matching.where(mails.c.id < cursor)
    query = (
        sa.select(sa.text(COLUMNS))
        .select_from(m.outerjoin(c, c.c.mail_id == m.c.id))
        .where(m.c.id.in_(matching))
        .order_by(m.c.id.desc())
    )
    return [as_resource(row) for row in await database.fetch_all(query)]


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
    """The content as pinned at accept, byte for byte; None once it is wiped."""
    row = await database.pool.fetchrow(queries.FIND_CONTENT, mail_id)
    if row is None:
        return None
    return {**dict(row), "headers": orjson.Fragment(row["headers"])}


async def attempts_of(database: Database, mail_id: UUID, before: int | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit + 1` attempts, newest first."""
    return [dict(row) for row in await database.pool.fetch(queries.ATTEMPTS, mail_id, before, limit + 1)]


async def history_of(database: Database, mail_id: UUID, cursor: UUID | None, limit: int) -> list[dict[str, Any]]:
    """Up to `limit + 1` entries, newest first."""
    rows = await database.pool.fetch(queries.HISTORY_OF_MAIL, str(mail_id), cursor, limit + 1)
    return [{**dict(row), "detail": orjson.Fragment(row["detail"])} for row in rows]
