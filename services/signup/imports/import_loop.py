"""The worker's loop over imports. One commit holds a batch of rows, its users, the mails owed and the history. After a
kill at any point it resumes from the last commit and does nothing twice.
"""

from collections.abc import Callable, Mapping, Sequence

import asyncpg

from shared.contract.ids import UUID
from shared.db.pool import Connection, Pool, Record
from shared.observability.logs import get_logger

from ..accounts.effect_policy import EffectPolicy
from . import queries
from .classify_rows import Decision, KnownUsers, decide, settle
from .row_parser import Candidate, Unreadable, read_row
from .states import Outcome

_log = get_logger(__name__)

# 500 rows take about 50 ms: large enough to be cheap, short enough for a pause and for the relays in this process.
BATCH_LINES = 500
_REFUSALS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
_REFUSED = "The row cannot be stored"


class ImportLoop:
    """A loop (`shared.worker.loops`). It calls `on_mails_owed` after a commit that owes mails."""

    name = "imports"

    def __init__(
        self, pool: Pool, policy: EffectPolicy, *, on_mails_owed: Callable[[], None], batch_lines: int = BATCH_LINES
    ) -> None:
        self._pool = pool
        self._policy = policy
        self._on_mails_owed = on_mails_owed
        self._batch_lines = batch_lines

    async def run_once(self) -> bool:
        """Process one batch of the oldest running import that no other worker has locked. Committed on return."""
        try:
            return await self._batch(self._batch_lines)
        except _REFUSALS as error:
            if not _caused_by_row(error):
                raise
            # The whole batch was rolled back. One bad row must not stop the others: retry row by row.
            _log.warning("import_row_refused", error=type(error).__name__, constraint=error.constraint_name)
            return await self._row_by_row()

    async def _row_by_row(self) -> bool:
        more = True
        for _ in range(self._batch_lines):
            try:
                more = await self._batch(1)
            except _REFUSALS as error:
                if not _caused_by_row(error):
                    raise
                more = await self._batch(1, refuse=True)
            if not more:
                break
        return more

    async def _batch(self, limit: int, *, refuse: bool = False) -> bool:
        """With `refuse`, mark the rows invalid: the database refused them."""
        async with self._pool.acquire() as connection, connection.transaction():
            job = await connection.fetchrow(queries.LOCK_OLDEST_RUNNING)
            if job is None:
                return False
            lines = await connection.fetch(queries.NEXT_LINES, job["id"], job["done_through_line"], limit)
            rows = [_read(line, refuse=refuse) for line in lines]
            decisions = await _decide_and_write(connection, job, rows, self._policy)
            if decisions:
                await connection.execute(queries.SETTLE_LINES, job["id"], *_columns(decisions))
            finished = len(lines) < limit and await connection.fetchval(queries.FINISH_IF_NOTHING_IS_HELD, job["id"])
        if not job["dry_run"] and any(decision.outcome is Outcome.CREATED for decision in decisions):
            self._on_mails_owed()
        return bool(lines or finished)


def _caused_by_row(error: asyncpg.PostgresError) -> bool:
    """A refusal by any other table is a defect of this service, not of the row."""
    return isinstance(error, asyncpg.DataError) or error.table_name == "users"


def _read(line: Record, *, refuse: bool) -> Candidate | Unreadable:
    if refuse:
        return Unreadable(line["line"], _REFUSED)
    if line["raw"] is None:
        return Unreadable(line["line"], line["reason"])
    return read_row(line["line"], line["raw"])


async def _decide_and_write(
    connection: Connection, job: Record, rows: Sequence[Candidate | Unreadable], policy: EffectPolicy
) -> list[Decision]:
    candidates = [row for row in rows if isinstance(row, Candidate)]
    decisions = decide(rows, await _known(connection, job, candidates))
    if job["dry_run"]:
        return decisions
    new = [
        decision.row
        for decision in decisions
        if decision.outcome is Outcome.CREATED and isinstance(decision.row, Candidate)
    ]
    inserted = await _insert(connection, job, new, policy) if new else {}
    not_inserted = [row for row in new if row.line not in inserted]
    # A concurrent signup created these users after the lookup.
    return settle(decisions, inserted, await _known(connection, job, not_inserted))


async def _known(connection: Connection, job: Record, rows: Sequence[Candidate]) -> KnownUsers:
    found: dict[str, dict[str, UUID | None]] = {"file_emails": {}, "file_ids": {}, "user_emails": {}, "user_ids": {}}
    if rows:
        emails, ids = [row.email_key for row in rows], [row.external_id for row in rows]
        for match in await connection.fetch(queries.FIND_KNOWN, job["id"], job["source"], emails, ids):
            found[match["found_in"]][match["value"]] = match["user_id"]
    return KnownUsers(found["file_emails"], found["file_ids"], _users(found["user_emails"]), _users(found["user_ids"]))


def _users(found: Mapping[str, UUID | None]) -> dict[str, UUID]:
    return {value: user_id for value, user_id in found.items() if user_id is not None}


async def _insert(
    connection: Connection, job: Record, new: Sequence[Candidate], policy: EffectPolicy
) -> dict[int, UUID]:
    rows = await connection.fetch(
        queries.IMPORT_USERS,
        *(job["id"], job["source"], policy.pinned, policy.give_up_seconds),
        *(job["actor"], job["correlation_id"], job["traceparent"]),
        *zip(*(
            (row.line, row.external_id, row.email, row.email_key, row.name, row.locale, row.verified, row.metadata)
            for row in new
        ), strict=True),
        *policy.owed,
    )  # fmt: skip
    return {row["line"]: row["id"] for row in rows}


def _columns(decisions: Sequence[Decision]) -> list[list[object]]:
    table = [
        (
            *(decision.row.line, decision.outcome, decision.reason),
            *(decision.row.external_id, decision.row.email, decision.row.email_key),
            decision.user_id,
        )
        for decision in decisions
    ]
    return [list(column) for column in zip(*table, strict=True)]
