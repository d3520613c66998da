"""Month partitions, the same in both services: made ahead, dropped behind, and what `/health` says of them.

The runtime role makes and drops no tables: the owner's functions do, and refuse what must not be (ADR 0013).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from ..db.pool import UNAVAILABLE, Pool, Record
from ..observability.health import Check, Status
from ..observability.logs import get_logger

_log = get_logger(__name__)

# A quarter ahead: the worker may be down for weeks, and rows still find their month.
_MONTHS_AHEAD = 3

# A month that is dropped is counted first, however large it is.
_COUNTING_SECONDS = 600.0

# The worker looks every hour.
_LATE_SECONDS = 7200

# More rows than this without a month are not more wrong.
_MOST_STRAYS = 1000

ENSURE_PARTITIONS = "SELECT ensure_partitions($1)"

DROP_OLDEST_UNLESS_KEPT_OR_IN_USE = "SELECT partition, outcome, rows FROM drop_oldest_partition($1, $2)"

KEEP_RUN = "UPDATE partition_upkeep SET ran_at = now()"

# $1 the tables, $2 how many months of each are kept. A month is overdue a day after its time: the worker may be late.
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
    """A table in month partitions. `months`: so many whole ones are kept before this one; 0: for ever."""

    table: str
    months: int


class Partitions:
    """A loop (`shared.worker.loops`). Any number of workers may run it."""

    name = "partitions"

    def __init__(self, pool: Pool, kept: Sequence[PartitionRetention]) -> None:
        self._pool = pool
        self._kept = kept

    async def run_once(self) -> bool:
        """Make months ahead and drop one of each table behind, each a commit; says whether there may be more to drop.

        A table that somebody has in use is left for the next time. A pass without a fault goes on record.
        """
        made = await self._make_ahead()
        dropped = [await self._drop_oldest(kept) for kept in self._kept if kept.months]
        if None in dropped or not made:
            return False
        await self._pool.execute(KEEP_RUN)
        return any(dropped)

    async def _make_ahead(self) -> bool:
        try:
            await self._pool.execute(ENSURE_PARTITIONS, _MONTHS_AHEAD)
        except UNAVAILABLE:
            raise
        except asyncpg.LockNotAvailableError:
            # There are months to spare.
            _log.info("no_month_made_in_a_table_in_use")
        except asyncpg.PostgresError:
            # Such as rows of that month in the default partition: no better in a second, so it is not tried again now.
            _log.exception("partitions_not_made")
            return False
        return True

    async def _drop_oldest(self, kept: PartitionRetention) -> bool | None:
        """Whether a month was dropped; None when it could not be, for another reason than its being in use."""
        try:
            row = await self._pool.fetchrow(
                DROP_OLDEST_UNLESS_KEPT_OR_IN_USE, kept.table, kept.months, timeout=_COUNTING_SECONDS
            )
        except TimeoutError:
            # Not at once again: it would count for as long again.
            _log.warning("partition_not_counted", table=kept.table, seconds=_COUNTING_SECONDS)
            return None
        except UNAVAILABLE:
            raise
        except asyncpg.PostgresError:
            _log.exception("partition_not_dropped", table=kept.table)
            return None
        if row is None:
            return False
        if row["outcome"] == "dropped":
            _log.info("partition_dropped", partition=row["partition"], rows=row["rows"])
            return True
        _log.warning("partition_in_use", partition=row["partition"])
        return False


async def partition_checks(pool: Pool, kept: Sequence[PartitionRetention]) -> dict[str, Check]:
    """`partitions_TABLE` for each. They warn and never fail: rows find a place whatever is missing."""
    rows = await pool.fetch(PARTITION_STATUS, [one.table for one in kept], [one.months for one in kept])
    return {f"partitions_{row['parent']}": _check(row, await _strays(pool, row["parent"])) for row in rows}


async def _strays(pool: Pool, table: str) -> int:
    few = f"SELECT count(*) FROM (SELECT FROM {table}_default LIMIT {_MOST_STRAYS}) AS few"
    strays: int = await pool.fetchval(few)
    return strays


def _check(row: Record, strays: int) -> Check:
    wrong = []
    # One that never came is the business of the check of workers.
    if (row["ran_seconds"] or 0) > _LATE_SECONDS:
        wrong.append(f"No worker has looked after it for {row['ran_seconds']:.0f} s")
    if row["ahead"] < _MONTHS_AHEAD - 1:
        wrong.append("Months ahead are missing")
    if row["overdue"]:
        wrong.append(f"{row['overdue']} months are past their time and still there")
    if strays:
        wrong.append(f"{strays} rows lie in the default partition")
    months = f"{row['months']} whole months are kept" if row["months"] else "PartitionRetention for ever"
    said = [*wrong, months, f"{row['ahead']} months are made ahead"]
    if row["blocked_seconds"] is not None:
        said.append(f"the oldest was in use whenever it was to be dropped, for {row['blocked_seconds']:.0f} s now")
    if row["kept_from"]:
        said.append(f"what is older than {row['kept_from']:%Y-%m-%d} was dropped")
    return Check(Status.WARN if wrong else Status.PASS, row["oldest"], "oldest month", "; ".join(said))
