"""The list of users, by the caller's filters. It loads SQLAlchemy, so import it where a list is read."""

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from shared.contract.ids import UUID
from shared.db.pool import Database

from ..audit.queries import UNREACHABLE_USERS
from ..tables import users
from .schemas import User

_UNREACHABLE_IDS = f"SELECT user_id FROM ({UNREACHABLE_USERS}) AS unreachable"


async def list_users(
    database: Database,
    *,
    email_keys: Sequence[str],
    statuses: Sequence[str],
    sources: Sequence[str],
    created_after: datetime | None,
    created_before: datetime | None,
    unreachable: bool | None,
    below: UUID | None,
    limit: int,
) -> Sequence[sa.RowMapping]:
    """Up to `limit + 1` users, newest first; without `statuses` all except erased ones."""
    query = sa.select(*(users.c[name] for name in User.model_fields)).order_by(users.c.id.desc()).limit(limit + 1)
    query = query.where(users.c.status.in_(statuses) if statuses else users.c.status != "erased")
    if email_keys:
        query = query.where(users.c.email_key.in_(email_keys))
    if sources:
        query = query.where(users.c.source.in_(sources))
    if created_after:
        query = query.where(users.c.created_at >= created_after)
    if created_before:
        query = query.where(users.c.created_at < created_before)
    if unreachable is not None:
        query = query.where(sa.text(f"users.id {'IN' if unreachable else 'NOT IN'} ({_UNREACHABLE_IDS})"))
    if below:
        query = query.where(users.c.id < below)
    return await database.fetch_all(query)
