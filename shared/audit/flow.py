"""How much happens in a service: its history by kind, as a rate for each part of the last hour and the last day.

Nothing is counted in advance: what is read costs only while it is read, and the same however much has happened. Of each
part the first entries are read. Where there are more, three short spans of the part are, and the number is an estimate.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

from ..contract.ids import lowest_uuid7
from ..db.pool import Pool, Record


@dataclass(frozen=True)
class Window:
    """The last `parts` times `part_seconds`. Of a part, so many entries are read before it is estimated."""

    part_seconds: int
    parts: int
    exact: int


HOUR, DAY = Window(120, 30, 300), Window(1800, 48, 100)
# About half of the most is expected in a span.
_SPANS, _MOST_OF_A_SPAN = 3, 100
# Shorter spans would see whole batches or nothing.
_SHORTEST_SPAN = 0.05
# The clock of the database may be ahead.
_SKEW = timedelta(minutes=5)

# $1 and $2 the lowest IDs of each span and of its end, $3 when it begins, $4 how many of its first entries to read:
# entries have IDs in the order of their time. The times only choose the month partitions.
READ_SPANS = """
SELECT span.n::int - 1 AS n, found.kind, found.entries, found.last_at
FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) WITH ORDINALITY AS span (low, high, begins, n)
CROSS JOIN LATERAL (
    SELECT kind, count(*) AS entries, max(at) AS last_at
    FROM (
        SELECT kind, at FROM history
        WHERE id >= span.low AND id < span.high
          AND at > span.begins - interval '32 days' AND at < span.begins + interval '2 days'
        ORDER BY id LIMIT $4
    ) AS first GROUP BY kind
) AS found
"""


@dataclass(frozen=True)
class Rates:
    """Entries a minute of each kind, one number for each part of the time, the oldest first."""

    part_seconds: int
    parts: int
    kinds: Mapping[str, Sequence[float]]
    # Some numbers were estimated.
    estimated: bool


@dataclass(frozen=True)
class Span:
    """A piece of part `n`."""

    n: int
    begins: datetime
    seconds: float


async def read_rates(pool: Pool, window: Window, now: datetime) -> Rates:
    """One statement; two when some parts are busy. Reads at most some hundred entries of each part."""
    parts = [Span(n, begins, window.part_seconds) for n, begins in enumerate(_begins(window, now))]
    first = await _read(pool, parts, window.exact, until=now + _SKEW)
    spans = list(spans_of(parts, first, window))
    more = await _read(pool, spans, _MOST_OF_A_SPAN) if spans else []
    return rates_of(first, spans, more, window)


def _begins(window: Window, now: datetime) -> Iterator[datetime]:
    return (now - timedelta(seconds=window.part_seconds * (window.parts - n)) for n in range(window.parts))


async def _read(pool: Pool, spans: Sequence[Span], limit: int, until: datetime | None = None) -> list[Record]:
    ends = [span.begins + timedelta(seconds=span.seconds) for span in spans]
    if until is not None:
        ends[-1] = until
    return await pool.fetch(
        READ_SPANS,
        [lowest_uuid7(span.begins) for span in spans],
        [lowest_uuid7(end) for end in ends],
        [span.begins for span in spans],
        limit,
    )


Row: TypeAlias = "Mapping[str, Any] | Record"


def spans_of(parts: Sequence[Span], first: Sequence[Row], window: Window) -> Iterator[Span]:
    """Pure. Three short spans of each part whose first entries filled the limit, by the time that those took."""
    for part in parts:
        found = [row for row in first if row["n"] == part.n]
        if sum(row["entries"] for row in found) < window.exact:
            continue
        took = (max(row["last_at"] for row in found) - part.begins).total_seconds()
        seconds = max(took * _MOST_OF_A_SPAN / 2 / window.exact, _SHORTEST_SPAN)
        for k in range(1, _SPANS + 1):
            yield Span(part.n, part.begins + timedelta(seconds=part.seconds * k / (_SPANS + 1)), seconds)


def rates_of(first: Sequence[Row], spans: Sequence[Span], more: Sequence[Row], window: Window) -> Rates:
    """Pure. `more` are the entries of `spans`, which stand for their part; it had the first entries at least."""
    read, sampled = _by_part(first), _by_part([{**row, "n": spans[row["n"]].n} for row in more])
    kinds: dict[str, list[float]] = {}
    for n, counts in read.items():
        seconds = sum(span.seconds for span in spans if span.n == n)
        scaled = {kind: entries * window.part_seconds / seconds for kind, entries in sampled.get(n, {}).items()}
        for kind, entries in (scaled if sum(scaled.values()) > sum(counts.values()) else counts).items():
            kinds.setdefault(kind, [0.0] * window.parts)[n] = entries * 60 / window.part_seconds
    return Rates(window.part_seconds, window.parts, kinds, estimated=bool(spans))


def _by_part(rows: Sequence[Row]) -> dict[int, Counter[str]]:
    found: dict[int, Counter[str]] = {}
    for row in rows:
        found.setdefault(row["n"], Counter())[row["kind"]] += row["entries"]
    return found


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
            hour = await self._fresh("hour", 10, lambda: read_rates(pool, HOUR, datetime.now(UTC)))
            day = await self._fresh("day", 60, lambda: read_rates(pool, DAY, datetime.now(UTC)))
        return Flow(datetime.now(UTC), now.worker_seconds, now.stages, now.states, hour, day)

    async def _fresh(self, name: str, seconds: float, read: Callable[[], Awaitable[Any]]) -> Any:
        until, kept = self._kept.get(name, (-math.inf, None))
        if until <= self._clock():
            kept = await read()
            self._kept[name] = (self._clock() + seconds, kept)
        return kept
