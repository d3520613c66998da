"""What a piece of work wrote to its database, as the server counted it."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import asyncpg

from .databases import Clone

_MONTH = re.compile(r"_y\d{4}m\d{2}$")

# It reads a table, because a backend that has read none reports nothing.
_REPORT = "SELECT pg_stat_force_next_flush() FROM heartbeats RIGHT JOIN (SELECT) AS always ON true LIMIT 1"
# Of the sessions that do the work: vacuum and other databases write to the same log.
_WAL_BYTES = "SELECT coalesce(sum(wal_bytes), 0) FROM unnest($1::int[]) AS pid, pg_stat_get_backend_wal(pid)"
_WRITTEN = """
SELECT relname, n_tup_ins AS inserted, n_tup_upd AS updated, n_tup_hot_upd AS hot, n_tup_del AS deleted,
       (SELECT count(*) FROM pg_index WHERE indrelid = relid) AS indexes
FROM pg_stat_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0
"""


@dataclass(frozen=True)
class Written:
    """`rows` by table and verb; `index_entries` at most, because an index may be partial. `commits` is None when the
    pool opened a connection, whose commits nobody counted.
    """

    commits: int | None
    rows: Counter[str]
    index_entries: int
    wal_bytes: int


class _Commits:
    """Counts those of some connections. The server's own count holds those of vacuum and of other sessions, too."""

    def __init__(self, connections: Sequence[Any]) -> None:
        self.count = 0
        self._connections = connections

    def __enter__(self) -> Self:
        self._notes = [self._note_of() for _ in self._connections]
        for connection, note in zip(self._connections, self._notes, strict=True):
            connection.add_query_logger(note)
        return self

    def __exit__(self, *_: object) -> None:
        for connection, note in zip(self._connections, self._notes, strict=True):
            connection.remove_query_logger(note)

    def _note_of(self) -> Callable[[Any], None]:
        is_open = False

        def note(executed: Any) -> None:
            nonlocal is_open
            verb = executed.query.split(maxsplit=1)[0].upper().rstrip(";")
            # Outside of a transaction, each statement commits.
            self.count += verb == "COMMIT" or not (is_open or verb == "BEGIN")
            is_open = verb == "BEGIN" or (is_open and verb not in {"COMMIT", "ROLLBACK"})

        return note


async def cost_of(clone: Clone, work: Callable[[], Awaitable[object]]) -> Written:
    """What `work` wrote through the clone's pool. Do it once before: that opens connections and prepares statements."""
    connections = _connections(clone)
    before = await _read(clone)
    with _Commits(connections) as commits:
        await work()
    after = await _read(clone)
    return Written(
        commits.count if set(_connections(clone)) <= set(connections) else None,
        after.rows - before.rows,
        after.index_entries - before.index_entries,
        after.wal_bytes - before.wal_bytes,
    )


def _connections(clone: Clone) -> list[Any]:
    return [holder._con for holder in clone.database.pool._holders if holder._con]  # type: ignore[attr-defined] # not in the stubs


async def _read(clone: Clone) -> Written:
    """The counts so far, but for commits."""
    connections = _connections(clone)
    for connection in connections:
        await connection.execute(_REPORT)
    reader = await asyncpg.connect(clone.owner_url)
    try:
        wal_bytes = await reader.fetchval(_WAL_BYTES, [connection.get_server_pid() for connection in connections])
        rows, entries = Counter[str](), 0
        for row in await reader.fetch(_WRITTEN):
            table = _MONTH.sub("", row["relname"])
            counts = {"insert": row["inserted"], "update": row["updated"], "delete": row["deleted"]}
            rows.update({f"{verb} {table}": count for verb, count in counts.items() if count})
            entries += row["indexes"] * (row["inserted"] + row["updated"] - row["hot"])
        return Written(None, rows, entries, int(wal_bytes))
    finally:
        await reader.close()
