"""The list of mails, by the caller's filters. It loads SQLAlchemy, so import it where a list is read."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson
import sqlalchemy as sa

from shared.contract.ids import UUID, lowest_uuid7
from shared.contract.principals import Principal
from shared.db.pool import Database

from ..tables import RARE_STATES, WAITING_STATES, contents, mails, queue
from .listing import client_scope
from .mail_resource import COLUMNS, as_resource

_FEW = 1_000
_OWN_MESSAGE_ID = re.compile("<([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})@[^<>@]+>")
# By how much the time in a mail's ID may differ from `accepted_at`: both are the database's time, but in 0.1.0 the API
# minted the ID. A filter by time reads past all mails of so long.
_CLOCKS_DIFFER = timedelta(hours=1)
# A mail may be sent long after it was accepted, so a list by `sent_after` cannot know where it ends. Among mails that
# were accepted before that time, where few match, a page looks at so many, and may be short.
_LOOKED_AT = 100_000


@dataclass(frozen=True)
class Filters:
    """The filters of GET /v1/mails: different ones combine with AND, several of one name with OR."""

    request_ids: Sequence[str] = ()
    message_ids: Sequence[str] = ()
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
        if self.message_ids:
            conditions.append(m.id.in_(self._named()))
        if self.tags:
            conditions += self._tagged()
        for key, values in self.metadata.items():
            conditions.append(sa.or_(*(m.metadata.contains({key: v}) for text in values for v in _as_json(text))))
        bounds = [
            (self.accepted_after, m.accepted_at.__ge__),
            (self.accepted_before, m.accepted_at.__lt__),
            (self.sent_after, m.sent_at.__ge__),
            (self.sent_before, m.sent_at.__lt__),
        ]
        return conditions + [compare(timestamp) for timestamp, compare in bounds if timestamp is not None]

    def begins_below(self, cursor: UUID | None) -> UUID | None:
        """The list goes from the newest ID down and begins where a match can be; None: at the newest.

        Nothing is sent before it is accepted.
        """
        latest = [timestamp for timestamp in (self.accepted_before, self.sent_before) if timestamp is not None]
        ends = [lowest_uuid7(timestamp, _CLOCKS_DIFFER) for timestamp in latest]
        return min((*ends, *([cursor] if cursor else [])), default=None)

    def bounds(self, below: UUID | None) -> list[sa.ColumnElement[bool]]:
        """Between which IDs the list lies: `below` and where no match can follow."""
        found = [mails.c.id < below] if below else []
        if self.accepted_after is not None:
            found.append(mails.c.id >= lowest_uuid7(self.accepted_after, -_CLOCKS_DIFFER))
        return found

    @property
    def names_few(self) -> bool:
        """Whether some index knows what matches, however old it is."""
        few_states = bool(self.states) and set(self.states) <= {*RARE_STATES, *WAITING_STATES}
        return few_states or any((self.request_ids, self.message_ids, self.to_keys, self.tags, self.metadata))

    def candidates(self) -> "sa.Select[tuple[Any]] | None":
        """The IDs that an index or a small table knows for a filter that may match few; None: no such filter."""
        if self.states and set(self.states) <= set(WAITING_STATES):
            return sa.select(queue.c.mail_id)
        return sa.select(mails.c.id).where(*self._tagged()) if self.tags else None

    def _named(self) -> "sa.CompoundSelect[tuple[Any]]":
        """The mails with these Message-IDs, by indexes: the part before the @-sign is the mail's ID, unless the mail
        was restored.
        """
        ids = [UUID(match[1]) for text in self.message_ids if (match := _OWN_MESSAGE_ID.fullmatch(text))]
        restored = sa.select(mails.c.id).where(mails.c.restored_message_id.in_(self.message_ids))
        own = sa.select(mails.c.id).where(mails.c.id.in_(ids), mails.c.message_id.in_(self.message_ids))
        return sa.union(own, restored)

    def _tagged(self) -> list[sa.ColumnElement[bool]]:
        # The second is the predicate of the index.
        return [mails.c.tags.overlap(list(self.tags)), mails.c.tags != sa.literal_column("'{}'")]


def _as_json(text: str) -> list[Any]:
    """All that a metadata value in a query string may mean: a string, and a number or boolean if it reads as one."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return [text]
    return [text, value] if isinstance(value, bool | int | float) else [text]


async def list_mails(
    database: Database,
    principal: Principal,
    filters: Filters,
    *,
    cursor: UUID | None,
    limit: int,
    among: int | None = None,
) -> tuple[list[dict[str, Any]], UUID | None]:
    """Up to `limit` mails that the caller may see, newest first, and the ID below which the next page begins.

    `among`: look at so many mails only; the page may then hold fewer than match.
    """
    client = client_scope(principal)
    if filters.sent_after and filters.sent_before and filters.sent_after >= filters.sent_before:
        return [], None
    below = filters.begins_below(cursor)
    start = [*filters.bounds(below), *([mails.c.client == client] if client is not None else [])]
    last = await _last_looked_at(database, filters, start, below, among)
    conditions = [*filters.conditions(), *start]
    if last is not None:
        conditions.append(mails.c.id >= last)
    found = await _read(database, _matching(conditions, filters.candidates(), limit + 1))
    return (found[:limit], found[limit - 1]["id"]) if len(found) > limit else (found, last)


async def _last_looked_at(
    database: Database, filters: Filters, start: Sequence[sa.ColumnElement[bool]], below: UUID | None, among: int | None
) -> UUID | None:
    """The last mail that a page looks at; None: it looks at all that are left."""
    if among is None and filters.sent_after is not None and not filters.names_few:
        accepted_later = lowest_uuid7(filters.sent_after, -_CLOCKS_DIFFER)
        if below is None or below > accepted_later:
            return await _last_of(database, [*start, mails.c.id < accepted_later], 1)
        among = _LOOKED_AT
    return await _last_of(database, start, among) if among else None


async def _last_of(database: Database, start: Sequence[sa.ColumnElement[bool]], among: int) -> UUID | None:
    """The last of so many of the mails that the caller may see; None when there are fewer."""
    newest = sa.select(mails.c.id).where(*start).order_by(mails.c.id.desc()).offset(among - 1).limit(1)
    rows = await database.fetch_all(newest)
    return rows[0]["id"] if rows else None


async def _read(database: Database, matching: sa.Select[Any]) -> list[dict[str, Any]]:
    m, c = mails.alias("m"), contents.alias("c")
    query = (
        sa.select(sa.text(COLUMNS))
        .select_from(m.outerjoin(c, c.c.mail_id == m.c.id))
        .where(m.c.id.in_(matching))
        .order_by(m.c.id.desc())
    )
    return [as_resource(row) for row in await database.fetch_all(query)]


def _matching(
    conditions: Sequence[sa.ColumnElement[bool]], candidates: "sa.Select[tuple[Any]] | None", limit: int
) -> sa.Select[Any]:
    """IDs, newest first. Few candidates come from their index; with many, the newest mails are read until enough match.

    The planner expects many mails with any tag and in any state, and would always read from the newest on.
    """
    newest = sa.select(mails.c.id).order_by(mails.c.id.desc()).limit(limit)
    if candidates is None:
        return newest.where(*conditions)
    first = candidates.limit(_FEW + 1).cte("first")
    are_few = sa.select(sa.func.count()).select_from(first).scalar_subquery() <= _FEW
    found = sa.union_all(
        sa.select(newest.where(*conditions, mails.c.id.in_(sa.select(first.c[0])), are_few).subquery()),
        sa.select(newest.where(*conditions, sa.not_(are_few)).subquery()),
    ).subquery()
    return sa.select(found.c.id)
