"""Month partitions of both services: creates future months, drops old ones, and checks them for `/health`.

The runtime role creates and drops no tables. Functions of the owner do, and refuse what is unsafe (ADR 0013).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from ..db.pool import UNAVAILABLE, Pool, Record
from ..observability.health_checks import Check, Status
from ..observability.logs import get_logger

_log = get_logger(__name__)

# A quarter ahead: rows still find their month when the worker is down for weeks.
_MONTHS_AHEAD = 3

# The rows of a month are counted before it is dropped, however many they are.
_COUNTING_SECONDS = 600.0

# The loop runs every hour.
_LATE_SECONDS = 7200

# Counting more stray rows adds nothing.
_MAX_STRAYS = 1000

ENSURE_PARTITIONS = "SELECT ensure_partitions($1)"

DROP_OLDEST_UNLESS_KEPT_OR_IN_USE = "SELECT partition, outcome, rows FROM drop_oldest_partition($1, $2)"

RECORD_RUN = "UPDATE partition_upkeep SET ran_at = now()"

# $1 tables, $2 months of each to keep. A month is overdue a day after its retention ends: the worker may be late.
PARTITION_STATUS = """
SELECT k.parent, k.months, u.kept_from, m.*, extract(epoch FROM now() - u.ran_at)::float8 AS ran_seconds,
       extract(epoch FROM now() - u.blocked_since)::float8 AS blocked_seconds
FROM unnest($1::text[], $2::int[]) AS k (parent, months)
JOIN partition_upkeep u USING (parent)
CROSS JOIN LATERAL (
    SELECT to_char(min(from_at) AT TIME ZONE 'UTC', 'YYYY-MM') AS oldest,
           count(*) FILTER (WHERE from_at > now()) AS ahead,
           count(*) FILTER (WHERE k.months > 0 AND to_at <= (
               date_trunc('month', (now() - interval '1 day') AT TIME ZONE 'UTC') - make_interval(months => k.months)
           ) AT TIME ZONE 'UTC') AS overdue
    FROM month_partitions(k.parent)
) AS m
"""


@dataclass(frozen=True)
class PartitionRetention:
    """A table in month partitions. `months`: whole months to keep before the current one; 0: keep all."""

    table: str
    months: int


class Partitions:
    """A loop (`shared.worker.loops`). Any number of workers may run it."""

    name = "partitions"

    def __init__(self, pool: Pool, retentions: Sequence[PartitionRetention]) -> None:
        self._pool = pool
        self._retentions = retentions

    async def run_once(self) -> bool:
        """Create future months and drop one old month per table, each in a commit. Returns whether more may be due.

        A table in use is left for the next run. A run without a fault is recorded.
        """
        created = await self._create_ahead()
        dropped = [await self._drop_oldest(retention) for retention in self._retentions if retention.months]
        if None in dropped or not created:
            return False
        await self._pool.execute(RECORD_RUN)
        return any(dropped)

    async def _create_ahead(self) -> bool:
        try:
            await self._pool.execute(ENSURE_PARTITIONS, _MONTHS_AHEAD)
        except asyncpg.LockNotAvailableError:
            # A later run creates it: there are months to spare.
            _log.info("partitions_not_made_table_in_use")
        except UNAVAILABLE:
            raise
        except asyncpg.PostgresError:
            # For example, rows of that month are in the default partition. Retrying in a second would not help.
            _log.exception("partitions_not_made")
            return False
        return True

    async def _drop_oldest(self, retention: PartitionRetention) -> bool | None:
        """Whether a month was dropped; None when it failed for another reason than being in use."""
        try:
            row = await self._pool.fetchrow(
                DROP_OLDEST_UNLESS_KEPT_OR_IN_USE, retention.table, retention.months, timeout=_COUNTING_SECONDS
            )
        except TimeoutError:
            # No immediate retry: counting would take as long again.
            _log.warning("partition_not_counted", table=retention.table, seconds=_COUNTING_SECONDS)
            return None
        except UNAVAILABLE:
            raise
        except asyncpg.PostgresError:
            _log.exception("partition_not_dropped", table=retention.table)
            return None
        if row is None:
            return False
        if row["outcome"] == "dropped":
            _log.info("partition_dropped", partition=row["partition"], rows=row["rows"])
            return True
        _log.warning("partition_in_use", partition=row["partition"])
        return False


async def partition_checks(pool: Pool, retentions: Sequence[PartitionRetention]) -> dict[str, Check]:
    """`partitions_TABLE` for each table. They warn and never fail: every row finds a partition."""
    rows = await pool.fetch(PARTITION_STATUS, [r.table for r in retentions], [r.months for r in retentions])
    return {f"partitions_{row['parent']}": _check(row, await _count_strays(pool, row["parent"])) for row in rows}


async def _count_strays(pool: Pool, table: str) -> int:
    query = f"SELECT count(*) FROM (SELECT FROM {table}_default LIMIT {_MAX_STRAYS}) AS strays"
    strays: int = await pool.fetchval(query)
    return strays


def _check(row: Record, strays: int) -> Check:
    wrong = []
    # The worker check reports a worker that never ran.
    if (row["ran_seconds"] or 0) > _LATE_SECONDS:
        wrong.append(f"No worker has maintained the partitions for {row['ran_seconds']:.0f} s")
    if row["ahead"] < _MONTHS_AHEAD - 1:
        wrong.append("Future months are missing")
    if row["overdue"]:
        wrong.append(f"{row['overdue']} months are past their retention and not dropped")
    if strays:
        wrong.append(f"{strays} rows are in the default partition")
    months = f"{row['months']} whole months are kept" if row["months"] else "All months are kept"
    details = [*wrong, months, f"{row['ahead']} future months exist"]
    if row["blocked_seconds"] is not None:
        details.append(f"the oldest was in use at every attempt to drop it, for {row['blocked_seconds']:.0f} s")
    if row["kept_from"]:
        details.append(f"months before {row['kept_from']:%Y-%m-%d} were dropped")
    return Check(Status.WARN if wrong else Status.PASS, row["oldest"], "oldest month", "; ".join(details))
