"""Lists notices for clients. It loads SQLAlchemy, so import it where a list is read."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.db.pool import Database

from ..ledger.listing import client_scope
from ..tables import bounces, mails

_SHOWN = ("id", "received_at", "mail_id", "kind", "outcome", "status", "code", "diagnostic", "provider")


async def list_bounces(
    database: Database,
    principal: Principal,
    *,
    mail_ids: Sequence[UUID],
    outcomes: Sequence[str],
    cursor: UUID | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Up to `limit + 1` notices about mails that the caller may see, newest first."""
    query = sa.select(*(bounces.c[name] for name in _SHOWN)).order_by(bounces.c.id.desc()).limit(limit + 1)
    client = client_scope(principal)
    if client is not None:
        query = query.join(mails, mails.c.id == bounces.c.mail_id).where(mails.c.client == client)
    if mail_ids:
        query = query.where(bounces.c.mail_id.in_(mail_ids))
    if outcomes:
        query = query.where(bounces.c.outcome.in_(outcomes))
    if cursor is not None:
        query = query.where(bounces.c.id < cursor)
    return [{name: row[name] for name in _SHOWN} for row in await database.fetch_all(query)]
