"""What a piece of work wrote to its database, as the server counted it."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import asyncpg

from .databases import Clone

_MONTH = re.compile(r"_y\d{4}m\d{2}$")

# Each statement of the services is a transaction and a round trip of its own.
_COMMITS = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
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
    """`rows` by table and verb; `index_entries` at most, because an index may be partial."""

    commits: int
    rows: Counter[str]
    index_entries: int
    wal_bytes: int


async def cost_of(clone: Clone, work: Callable[[], Awaitable[object]]) -> Written:
    """What `work` wrote through the clone's pool. Prepare its statements before: that is a commit of each, too."""
    earlier, _ = await _read(clone)
    before, asked_before = await _read(clone)
    await work()
    after, asked_after = await _read(clone)
    reading = before.commits - earlier.commits + asked_after - asked_before
    return Written(
        after.commits - before.commits - reading,
        after.rows - before.rows,
        after.index_entries - before.index_entries,
        after.wal_bytes - before.wal_bytes,
    )


async def _read(clone: Clone) -> tuple[Written, int]:
    """The counts so far, and how many of the pool's connections were asked to report theirs, a commit of each."""
    connections = [holder._con for holder in clone.database.pool._holders if holder._con]  # type: ignore[attr-defined] # not in the stubs
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
        commits = await reader.fetchval(_COMMITS)
        await reader.execute(_REPORT)  # now, not when its session ends
        return Written(commits, rows, entries, int(wal_bytes)), len(connections)
    finally:
        await reader.close()
