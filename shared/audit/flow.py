"""How much happens in a service: its history by kind, as a rate for each part of the last hour and the last day.

Nothing is counted in advance: what is read costs only while it is read, and the same however much has happened. Of each
part the first entries are read. Where there are more, three short spans of the part are, and the number is an estimate.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from ..db.pool import Pool, Record

# Seconds of a part, and how many parts.
HOUR, DAY = (120, 30), (1800, 48)
_EXACT, _SPANS, _MOST_OF_A_SPAN = 100, 3, 200
# Shorter spans would see whole batches or nothing.
_SHORTEST_SPAN = 0.05

# The lowest UUIDv7 of a time: entries have IDs in the order of their time.
_LOWEST = "(lpad(to_hex((extract(epoch FROM {}) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid"
# The times only choose the month partitions.
_ENTRIES = f"""
    SELECT kind, at FROM history
    WHERE id >= {_LOWEST.format("{begins}")} AND id < {_LOWEST.format("{ends}")}
      AND at > {{begins}} - interval '32 days' AND at < {{begins}} + interval '2 days'
    ORDER BY id LIMIT {{limit}}
"""


def _by_kind(entries: str) -> str:
    return f"""
    SELECT coalesce(sum(entries), 0) AS entries, max(last_at) AS last_at, jsonb_object_agg(kind, entries) AS kinds
    FROM (SELECT kind, count(*) AS entries, max(at) AS last_at FROM ({entries}) AS e GROUP BY kind) AS of_kind
    """


# $1 seconds of a part, $2 how many parts, the last of which ends now. A row for each part, the oldest first, and rows
# for the spans of full parts.
READ_FLOW = f"""
WITH part AS (
    SELECT n, now() - make_interval(secs => $1 * ($2 - n)) AS begins,
           now() - make_interval(secs => $1 * ($2 - n - 1)) AS ends
    FROM generate_series(0, $2 - 1) AS n
), first AS MATERIALIZED (
    SELECT part.n, part.begins, read.*
    FROM part CROSS JOIN LATERAL (
        {_by_kind(_ENTRIES.format(begins="part.begins", ends="part.ends", limit=_EXACT))}
    ) AS read
), span AS MATERIALIZED (
    SELECT n, begins + make_interval(secs => $1 * k / {_SPANS + 1}.0) AS begins,
           least(greatest(extract(epoch FROM last_at - begins) / 2, {_SHORTEST_SPAN}), $1 / {_SPANS + 1}.0) AS seconds
    FROM first CROSS JOIN generate_series(1, {_SPANS}) AS k WHERE entries >= {_EXACT}
), spans AS (
    SELECT span.n, span.seconds, read.*
    FROM (SELECT *, begins + make_interval(secs => seconds::float8) AS ends FROM span) AS span CROSS JOIN LATERAL (
        {_by_kind(_ENTRIES.format(begins="span.begins", ends="span.ends", limit=_MOST_OF_A_SPAN))}
    ) AS read
)
SELECT n, NULL::float8 AS seconds, entries::int AS entries, kinds::text AS kinds FROM first
UNION ALL
SELECT n, seconds::float8, entries::int, kinds::text FROM spans
"""


@dataclass(frozen=True)
class Rates:
    """Entries a minute of each kind, one number for each part of the time, the oldest first."""

    part_seconds: int
    parts: int
    kinds: Mapping[str, Sequence[float]]
    # Some numbers were estimated.
    estimated: bool


async def read_rates(pool: Pool, part_seconds: int, parts: int) -> Rates:
    """One statement. Reads at most some hundred entries of each part."""
    return rates_of(await pool.fetch(READ_FLOW, part_seconds, parts), part_seconds, parts)


def rates_of(rows: Sequence[Mapping[str, Any] | Record], part_seconds: int, parts: int) -> Rates:
    """Pure. A part is exact unless its first entries filled the limit; then its spans say how much there was."""
    full = {row["n"] for row in rows if row["seconds"] is None and row["entries"] >= _EXACT}
    seconds = dict.fromkeys(range(parts), float(part_seconds))
    for number in full:
        seconds[number] = sum(row["seconds"] for row in rows if row["n"] == number and row["seconds"] is not None)
    kinds: dict[str, list[float]] = {}
    for row in rows:
        if (row["seconds"] is None) != (row["n"] in full):
            for kind, entries in orjson.loads(row["kinds"] or "{}").items():
                kinds.setdefault(kind, [0.0] * parts)[row["n"]] += entries * 60 / seconds[row["n"]]
    return Rates(part_seconds, parts, kinds, estimated=bool(full))


@dataclass(frozen=True)
class StageNow:
    """What waits in one stage. Counts stop at 10,000. None: this stage has no such thing."""

    name: str
    waiting: int
    in_flight: int
    oldest_seconds: float | None
    dead: int | None = None
    breaker: str | None = None
    last_fault: str | None = None


@dataclass(frozen=True)
class Flow:
    """What waits in the stages of a service now, and how much went through them."""

    at: datetime
    # Since the worker's last heartbeat; None when none was ever sent.
    worker_seconds: float | None
    stages: Sequence[StageNow]
    # How many there are in each state that is rare enough to be counted.
    states: Mapping[str, int]
    hour: Rates
    day: Rates


@dataclass(frozen=True)
class Now:
    """What a service knows of its stages at one time."""

    worker_seconds: float | None
    stages: Sequence[StageNow]
    states: Mapping[str, int] = field(default_factory=dict)


class FlowReader:
    """Remembers for a while what it read, so that many who ask cost as much as one."""

    def __init__(
        self, read_now: Callable[[Pool], Awaitable[Now]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read_now = read_now
        self._clock = clock
        self._lock = asyncio.Lock()
        self._kept: dict[str, tuple[float, Any]] = {}

    async def read(self, pool: Pool) -> Flow:
        """One statement a second for the stages, one every ten seconds for the hour and one a minute for the day."""
        async with self._lock:
            now = await self._fresh("now", 1, lambda: self._read_now(pool))
            hour = await self._fresh("hour", 10, lambda: read_rates(pool, *HOUR))
            day = await self._fresh("day", 60, lambda: read_rates(pool, *DAY))
        return Flow(datetime.now(UTC), now.worker_seconds, now.stages, now.states, hour, day)

    async def _fresh(self, name: str, seconds: float, read: Callable[[], Awaitable[Any]]) -> Any:
        until, kept = self._kept.get(name, (-math.inf, None))
        if until <= self._clock():
            kept = await read()
            self._kept[name] = (self._clock() + seconds, kept)
        return kept
