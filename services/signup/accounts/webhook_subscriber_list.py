"""The list of a client's webhook subscribers. It loads SQLAlchemy, so import it where a list is read."""

from collections.abc import Sequence

import sqlalchemy as sa

from shared.contract.ids import UUID
from shared.db.pool import Database

from ..tables import webhook_subscribers

_SHOWN = ("id", "url", "events", "created_at", "rotated_at", "disabled_at", "disabled_reason")


async def list_own(database: Database, client: str, *, below: UUID | None, limit: int) -> Sequence[sa.RowMapping]:
    """Up to `limit + 1` subscribers, newest first."""
    columns = webhook_subscribers.c
    query = sa.select(*(columns[name] for name in _SHOWN)).where(columns.client == client)
    if below:
        query = query.where(columns.id < below)
    return await database.fetch_all(query.order_by(columns.id.desc()).limit(limit + 1))
