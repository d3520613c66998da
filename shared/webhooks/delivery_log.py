"""What was delivered to a subscriber, and what is to be delivered again. The SQL is the service's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from ..contract.ids import UUID, lowest_uuid7
from ..db.pool import Pool, Record

_ALL_IDS = UUID(int=0), UUID(int=(1 << 128) - 1)
# IDs have the time at which a row was written, which may be later than that of its event: its transaction took so long.
_WRITTEN_WITHIN = timedelta(minutes=1)

COLUMNS = (
    "id", "event", "subject_id", "state", "attempts", "last_status", "last_error", "created_at", "delivered_at",
    "due_at",
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """Events at or after `since` and before `until`."""

    since: datetime | None = None
    until: datetime | None = None

    def ids(self) -> tuple[UUID, UUID]:
        """The lowest ID, and one above the highest, that a row of this span may have."""
        return (
            lowest_uuid7(self.since, -_WRITTEN_WITHIN) if self.since else _ALL_IDS[0],
            lowest_uuid7(self.until, _WRITTEN_WITHIN) if self.until else _ALL_IDS[1],
        )


@dataclass(frozen=True)
class Wanted:
    """The filters of a log: different ones combine with AND, several values of one with OR."""

    states: Sequence[str]
    events: Sequence[str]
    span: Span = Span()
    below: UUID | None = None


@dataclass(frozen=True)
class ReplayCount:
    """`more`: counting stopped at `replayed`, and there are more events to replay."""

    replayed: int
    more: bool = False


class Deliveries(Protocol):
    """Where a service keeps the deliveries of its subscribers."""

    async def page(self, subscriber_id: UUID, wanted: Wanted, *, limit: int) -> Sequence[Mapping[str, Any] | Record]:
        """Up to `limit + 1` deliveries with COLUMNS, newest first, each webhook ID once."""

    async def replay(self, subscriber: Record, span: Span, events: Sequence[str], *, actor: str) -> ReplayCount:
        """Deliver the events of a span again, with a line of history; committed. `since` is never None.

        Raises:
            TooManyReplays: as it says; nothing has changed.
        """


@dataclass(frozen=True)
class LogQueries:
    """$1 the subscriber, $2 events, $3 states, $4 and $5 the IDs (from, below), $6 and $7 the times, $8 the limit.

    `rare` is for states of which there are few: it uses the index of those.
    """

    all: str
    rare: str

    @classmethod
    def over(cls, waiting: str, settled: str) -> "LogQueries":
        """`waiting` and `settled` are subqueries with COLUMNS, `subscriber_id` and, `settled` only, `settled_at`.

        A delivery that was replayed is settled more than once: the newest row of its ID is the one that counts.
        """
        return cls(_newest_first(waiting, settled, ""), _newest_first(waiting, settled, "AND s.state <> 'delivered'"))


def _newest_first(waiting: str, settled: str, also: str) -> str:
    shown = ", ".join(f"{{0}}.{column}" for column in COLUMNS)
    matches = """
        {0}.subscriber_id = $1 AND {0}.event = wanted.event AND {0}.state = ANY ($3::text[])
        AND {0}.id >= $4 AND {0}.id < $5
        AND ($6::timestamptz IS NULL OR {0}.created_at >= $6) AND ($7::timestamptz IS NULL OR {0}.created_at < $7)
    """
    # From the index for each event, so that a rare one is found as quickly as all together. `IS NULL` and not
    # `NOT EXISTS`: that one becomes a join with the whole log, while this looks a few lines up. `IS NOT FALSE` leaves
    # the index by ID as the only one to do so, however small the table was when the plan was made.
    return f"""
    SELECT found.* FROM unnest($2::text[]) AS wanted (event) CROSS JOIN LATERAL (
        (
            SELECT {shown.format("w")} FROM ({waiting}) AS w WHERE {matches.format("w")} ORDER BY w.id DESC LIMIT $8
        ) UNION ALL (
            SELECT {shown.format("s")} FROM ({settled}) AS s
            WHERE {matches.format("s")} {also}
              AND (
                  SELECT true FROM ({waiting}) AS again
                  WHERE again.id = s.id AND (again.subscriber_id = s.subscriber_id) IS NOT FALSE LIMIT 1
              ) IS NULL AND (
                  SELECT true FROM ({settled}) AS newer
                  WHERE newer.subscriber_id = s.subscriber_id AND newer.event = s.event AND newer.id = s.id
                    AND newer.settled_at > s.settled_at LIMIT 1
              ) IS NULL
            ORDER BY s.id DESC LIMIT $8
        )
    ) AS found
    ORDER BY found.id DESC LIMIT $8
    """


async def read_log(
    pool: Pool, queries: LogQueries, subscriber_id: UUID | str, wanted: Wanted, *, limit: int
) -> Sequence[Record]:
    """As `Deliveries.page`. One statement."""
    lowest, above = wanted.span.ids()
    return await pool.fetch(
        queries.all if "delivered" in wanted.states else queries.rare,
        subscriber_id,
        wanted.events,
        wanted.states,
        lowest,
        min(above, wanted.below) if wanted.below else above,
        wanted.span.since,
        wanted.span.until,
        limit + 1,
    )
