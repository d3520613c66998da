"""The list of findings, by an operator's filters. It loads SQLAlchemy, so import it where a list is read."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from shared.contract.ids import UUID
from shared.db.pool import Database

from ..tables import reconciliation_findings

_SHOWN = ("request_id", "mail_id", "user_id", "reason", "id", "run_id", "kind", "found_at", "healed_at")


async def list_findings(
    database: Database,
    *,
    kinds: Sequence[str],
    run_ids: Sequence[UUID],
    healed: bool | None,
    below: UUID | None,
    limit: int,
) -> list[dict[str, Any]]:
    """Up to `limit + 1` findings, newest first, each difference once."""
    findings = reconciliation_findings.c
    columns = {**findings, "healed_at": findings.repaired_at.label("healed_at")}
    query = sa.select(*(columns[name] for name in _SHOWN)).order_by(findings.id.desc()).limit(limit + 1)
    if kinds:
        query = query.where(findings.kind.in_(kinds))
    if run_ids:
        query = query.where(findings.run_id.in_(run_ids))
    if healed is not None:
        query = query.where(findings.repaired_at.is_not(None) if healed else findings.repaired_at.is_(None))
    if below:
        query = query.where(findings.id < below)
    return [{name: row[name] for name in _SHOWN} for row in await database.fetch_all(query)]
