"""Requests a reconciliation. The worker performs it."""

from datetime import UTC, datetime, timedelta

from shared.contract.correlation import current
from shared.db.pool import Pool, Record

from .queries import REQUEST_RUN

# How far clocks of callers and of this machine may differ. A later time is a mistake.
_MAX_CLOCK_SKEW = timedelta(minutes=5)


def fault_of(begins: datetime | None, ends: datetime | None) -> str:
    """What is wrong with the beginning of a window; an empty text when nothing is."""
    if begins and ends and begins >= ends:
        return "Must be earlier than `to`"
    if begins and begins > datetime.now(UTC) + _MAX_CLOCK_SKEW:
        return "Must not lie in the future"
    return ""


async def request_run(
    pool: Pool, begins: datetime | None, ends: datetime | None, *, lag_seconds: float, repair: bool, actor: str
) -> Record:
    """The requested run. Committed: it survives a crash of the worker."""
    correlation = current()
    row = await pool.fetchrow(
        REQUEST_RUN, begins, ends, lag_seconds, repair, actor, correlation.request_id if correlation else None
    )
    assert row is not None  # RETURNING
    return row
