"""Runs sanity checks: queries for what constraints cannot forbid, every few minutes, with stored findings.

A check is one query for rows that must not exist. Where a repair is safe, the check has a fix, which is recorded in
history. Each service lists its checks in `audit/sanity_checks.py`. What no query can find, a coded check does.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
import orjson

from ..db.pool import UNAVAILABLE, Pool, Record
from ..observability.foreign_errors import describe
from ..observability.logs import get_logger
from .severity import Severity

_log = get_logger(__name__)

# A slower check is itself a burden: it is stopped, and reports that.
_TIMEOUT_MILLISECONDS = 10_000

# Checks may have to scan whole tables, which the pool's own statements never do (`shared.db.pool`).
_ALLOW_TABLE_SCANS = f"SET LOCAL statement_timeout = {_TIMEOUT_MILLISECONDS}; SET LOCAL enable_seqscan = on"

# Counting more findings adds nothing.
_MAX_FINDINGS = 1000

_MAX_EXAMPLES = 20


@dataclass(frozen=True)
class SanityCheck:
    """`query` returns rows (id, what) that must not exist; `what` holds nothing personal.

    It leaves out rows in progress, reads recent rows or an index, and runs read-only. `fix`, if any, is a list of CTEs
    of which the last is `fixed (id)`; it checks again itself whether each row is wrong.
    """

    name: str
    description: str
    query: str
    severity: Severity = Severity.RED
    fix: str | None = None
    every_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is wrong with `id`, and holds nothing personal. One that does not count could not be judged."""

    id: str
    what: str
    counts: bool = True


@dataclass(frozen=True)
class CodedCheck:
    """A check that asks something else than the database. `find` gets no connection, so none is held meanwhile.

    With `every_seconds` it runs that often, when a process of the service runs its first checks, and on request.
    """

    name: str
    description: str
    find: Callable[[], Awaitable[Sequence[Finding]]]
    severity: Severity = Severity.WARNING
    every_seconds: float = 0.0
    fix: None = None


AnyCheck: TypeAlias = SanityCheck | CodedCheck


class _CheckFailedError(Exception):
    """The code of a check failed, or took too long. The message is for the operators."""


def partition_missing(*tables: str) -> SanityCheck:
    """The check of month partitions that both services have."""
    names = ", ".join(f"'{table}'" for table in tables)
    strays = "".join(
        f" UNION ALL (SELECT '{table}_default', 'holds rows of no partition' FROM {table}_default LIMIT 1)"
        for table in tables
    )
    return SanityCheck(
        "partition_missing",
        "Partitions of this month or the next that are missing, and rows that are in the default partition instead.",
        f"""
        SELECT t || to_char(month, '"_y"YYYY"m"MM') AS id, 'there is no such partition' AS what
        FROM unnest(ARRAY[{names}]) AS t,
             generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
                             date_trunc('month', now() AT TIME ZONE 'UTC') + interval '1 month', '1 month') AS month
        WHERE to_regclass('public.' || t || to_char(month, '"_y"YYYY"m"MM')) IS NULL{strays}
        """,
    )


CLAIM_RUN_IF_DUE = """
UPDATE check_runs SET claimed_at = now()
WHERE claimed_at IS NULL OR claimed_at < now() - make_interval(secs => $1) RETURNING true
"""

RECORD_RESULT = """
INSERT INTO check_results AS r (name, last_run_at, violations, fixed, fixed_total, examples)
VALUES ($1, now(), $2::int, $3::int, $3::int, $4::jsonb)
ON CONFLICT (name) DO UPDATE SET
    last_run_at = excluded.last_run_at, violations = excluded.violations, fixed = excluded.fixed,
    fixed_total = r.fixed_total + excluded.fixed, examples = excluded.examples, error = NULL
"""

# Earlier findings stay: they may still hold.
RECORD_ERROR = """
INSERT INTO check_results AS r (name, last_run_at, violations, fixed, error) VALUES ($1, now(), 0, 0, $2)
ON CONFLICT (name) DO UPDATE SET last_run_at = excluded.last_run_at, error = excluded.error
"""

AGES = "SELECT name, extract(epoch FROM now() - last_run_at)::float8 AS seconds FROM check_results"

NOTE_REQUEST = "INSERT INTO history (kind, subject, actor) VALUES ('checks.requested', 'checks', $1)"

RESULTS = """
SELECT name, last_run_at, violations, fixed, fixed_total, examples, error FROM check_results
"""


class Checks:
    """The checks of a service, with their configured severities."""

    def __init__(
        self, pool: Pool, checks: Sequence[AnyCheck], severities: Mapping[str, Severity], *, actor: str
    ) -> None:
        self._pool = pool
        self._checks = checks
        self._severities = severities
        self._actor = actor
        self._has_run = False

    async def run_if_due(self, every_seconds: float) -> bool:
        """Run the checks that are due, unless any process of the service did within `every_seconds`.

        The first run of a process runs all of them: its settings may be new.
        """
        if not await self._pool.fetchval(CLAIM_RUN_IF_DUE, every_seconds):
            return False
        rows = await self._pool.fetch(AGES) if self._has_run else []
        ages = {row["name"]: row["seconds"] for row in rows}
        for check in self._checks:
            if ages.get(check.name, check.every_seconds) >= check.every_seconds:
                await self._run_one(check)
        self._has_run = True
        return True

    async def run_for(self, actor: str) -> None:
        """As `run`, with a line of history that says who asked for it."""
        await self._pool.execute(NOTE_REQUEST, actor)
        await self.run()

    async def run(self) -> None:
        """Run each check, repair what is safe to repair, store the findings. Each step is a commit of its own."""
        for check in self._checks:
            await self._run_one(check)

    async def _run_one(self, check: AnyCheck) -> None:
        try:
            found = await (self._find(check) if isinstance(check, SanityCheck) else _find_by_code(check))
            violations = sum(finding.counts for finding in found)
            fixed = await self._fix(check.name, check.fix) if violations and check.fix else 0
        except asyncpg.QueryCanceledError:
            _log.warning("check_took_too_long", check=check.name)
            await self._pool.execute(RECORD_ERROR, check.name, f"stopped after {_TIMEOUT_MILLISECONDS / 1000:.0f} s")
            return
        except UNAVAILABLE:
            raise
        except asyncpg.PostgresError as error:
            _log.exception("check_failed", check=check.name)
            await self._pool.execute(RECORD_ERROR, check.name, f"failed: {describe(error)}")
            return
        except _CheckFailedError as error:
            _log.exception("check_failed", check=check.name)
            await self._pool.execute(RECORD_ERROR, check.name, str(error))
            return
        if violations:
            _log.warning("check_found_violations", check=check.name, violations=violations, fixed=fixed)
        shown = sorted(found, key=lambda finding: not finding.counts)[:_MAX_EXAMPLES]
        examples = orjson.dumps([{"id": finding.id, "what": finding.what} for finding in shown]).decode()
        await self._pool.execute(RECORD_RESULT, check.name, violations, fixed, examples)

    async def _find(self, check: SanityCheck) -> Sequence[Finding]:
        query = f"SELECT id, what FROM ({check.query}) AS found LIMIT {_MAX_FINDINGS}"
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute(_ALLOW_TABLE_SCANS)
            return [Finding(row["id"], row["what"]) for row in await connection.fetch(query)]

    async def _fix(self, name: str, fix: str) -> int:
        statement = f"""
        WITH {fix}, recorded AS (
            INSERT INTO history (kind, subject, actor, detail)
            SELECT 'check.fixed', id, $1, jsonb_build_object('check', $2::text) FROM fixed RETURNING id
        )
        SELECT count(*) FROM recorded
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_ALLOW_TABLE_SCANS)
            fixed: int = await connection.fetchval(statement, self._actor, name)
        _log.warning("check_fixed", check=name, fixed=fixed)
        return fixed

    async def results(self) -> list[dict[str, Any]]:
        """Every check with the findings of its last run, in the order of the list."""
        results = {row["name"]: row for row in await self._pool.fetch(RESULTS)}
        return [self._result(check, results.get(check.name)) for check in self._checks]

    def _result(self, check: AnyCheck, row: Record | None) -> dict[str, Any]:
        result: dict[str, Any] = {
            "name": check.name,
            "description": check.description,
            "severity": self._severities[check.name],
            "fixes": check.fix is not None,
            "last_run_at": None,
            "violations": 0,
            "examples": [],
            "fixed": 0,
            "fixed_total": 0,
            "error": None,
        }
        if row is not None:
            result |= {**row, "examples": orjson.loads(row["examples"])}
        return result


async def _find_by_code(check: CodedCheck) -> Sequence[Finding]:
    # An outage of what the check asks must not look like one of the database, for which the whole loop waits.
    try:
        async with asyncio.timeout(_TIMEOUT_MILLISECONDS / 1000):
            return await check.find()
    except TimeoutError:
        raise _CheckFailedError(f"stopped after {_TIMEOUT_MILLISECONDS / 1000:.0f} s") from None
    except Exception as error:
        raise _CheckFailedError(f"failed: {describe(error)}") from error
