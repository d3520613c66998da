"""Sanity checks: questions that constraints cannot ask, run every few minutes, with what they found kept beside them.

A check is one query that names the rows which must not be. Where mending is safe it carries a fix, which goes into
history. Each service lists its own in `ledger/sanity.py`; here is what runs them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import orjson

from ..db.pool import UNAVAILABLE, Pool, Record
from ..observability.logs import get_logger
from .severity import Severity

_log = get_logger(__name__)

# A check that takes longer is itself a burden: it is stopped, and says so.
_TIMEOUT_MILLISECONDS = 10_000

# Checks may have to read whole tables, which the pool's own statements never do (`shared.db.pool`).
_LOOK_AT_EVERYTHING = f"SET LOCAL statement_timeout = {_TIMEOUT_MILLISECONDS}; SET LOCAL enable_seqscan = on"

# Counted up to here; more than that is not more wrong.
_MOST = 1000

_EXAMPLES = 20


@dataclass(frozen=True)
class SanityCheck:
    """`query` answers rows (id, what) that must not be: text without anything personal.

    It is silent about rows that are under way, reads recent rows or an index, and is run read-only. `fix`, where there
    is one, is a list of CTEs of which the last is `fixed (id)`; it asks again itself whether each row is wrong.
    """

    name: str
    description: str
    query: str
    severity: Severity = Severity.RED
    fix: str | None = None


CLAIM_RUN_IF_DUE = """
UPDATE check_runs SET claimed_at = now()
WHERE claimed_at IS NULL OR claimed_at < now() - make_interval(secs => $1) RETURNING true
"""

KEEP_RESULT = """
INSERT INTO check_results AS r (name, last_run_at, violations, fixed, fixed_total, examples)
VALUES ($1, now(), $2::int, $3::int, $3::int, $4::jsonb)
ON CONFLICT (name) DO UPDATE SET
    last_run_at = excluded.last_run_at, violations = excluded.violations, fixed = excluded.fixed,
    fixed_total = r.fixed_total + excluded.fixed, examples = excluded.examples, error = NULL
"""

# What it found before still stands, as far as anybody knows.
KEEP_ERROR = """
INSERT INTO check_results AS r (name, last_run_at, violations, fixed, error) VALUES ($1, now(), 0, 0, $2)
ON CONFLICT (name) DO UPDATE SET last_run_at = excluded.last_run_at, error = excluded.error
"""

RESULTS = """
SELECT name, last_run_at, violations, fixed, fixed_total, examples, error FROM check_results
"""


class Checks:
    """A service's checks, with the severity that the settings give each."""

    def __init__(
        self, pool: Pool, checks: Sequence[SanityCheck], severities: Mapping[str, Severity], *, actor: str
    ) -> None:
        self._pool = pool
        self._checks = checks
        self._severities = severities
        self._actor = actor

    async def run_if_due(self, every_seconds: float) -> bool:
        """Run them all, unless any process of the service did within `every_seconds`."""
        if not await self._pool.fetchval(CLAIM_RUN_IF_DUE, every_seconds):
            return False
        await self.run()
        return True

    async def run(self) -> None:
        """Run each check, mend what is safe to mend, keep what was found. Each of these is a commit of its own."""
        for check in self._checks:
            await self._run_one(check)

    async def _run_one(self, check: SanityCheck) -> None:
        try:
            found = await self._find(check)
            fixed = await self._fix(check) if found and check.fix else 0
        except asyncpg.QueryCanceledError:
            _log.warning("check_took_too_long", check=check.name)
            await self._pool.execute(KEEP_ERROR, check.name, f"stopped after {_TIMEOUT_MILLISECONDS / 1000:.0f} s")
            return
        except UNAVAILABLE:
            raise
        except asyncpg.PostgresError as error:
            _log.exception("check_failed", check=check.name)
            await self._pool.execute(KEEP_ERROR, check.name, f"failed: {type(error).__name__}")
            return
        if found:
            _log.warning("check_found", check=check.name, violations=len(found), fixed=fixed)
        examples = orjson.dumps([dict(row) for row in found[:_EXAMPLES]]).decode()
        await self._pool.execute(KEEP_RESULT, check.name, len(found), fixed, examples)

    async def _find(self, check: SanityCheck) -> list[Record]:
        query = f"SELECT id, what FROM ({check.query}) AS found LIMIT {_MOST}"
        async with self._pool.acquire() as connection, connection.transaction(readonly=True):
            await connection.execute(_LOOK_AT_EVERYTHING)
            return await connection.fetch(query)

    async def _fix(self, check: SanityCheck) -> int:
        statement = f"""
        WITH {check.fix}, told AS (
            INSERT INTO history (kind, subject, actor, detail)
            SELECT 'check.fixed', id, $1, jsonb_build_object('check', $2::text) FROM fixed RETURNING id
        )
        SELECT count(*) FROM told
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(_LOOK_AT_EVERYTHING)
            fixed: int = await connection.fetchval(statement, self._actor, check.name)
        _log.warning("check_fixed", check=check.name, fixed=fixed)
        return fixed

    async def results(self) -> list[dict[str, Any]]:
        """Every check with what its last run found, in the order of the list."""
        kept = {row["name"]: row for row in await self._pool.fetch(RESULTS)}
        return [self._result(check, kept.get(check.name)) for check in self._checks]

    def _result(self, check: SanityCheck, row: Record | None) -> dict[str, Any]:
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
