"""The health checks of signup. Each one answers within 2 seconds, even when a server is down."""

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.requests import Request

from shared.audit.alert_reports import finding_checks
from shared.db.pool import UNAVAILABLE, Database, Record
from shared.observability.foreign_errors import describe
from shared.observability.health_checks import Check, Status, failing_loops, graded
from shared.worker.circuit_breaker import BreakerState
from shared.worker.partitions import PartitionRetention, partition_checks

from ..accounts.challenges import ChallengePolicy
from ..audit.queries import LAST_BEAT
from ..outbox.effect_registry import EFFECTS
from ..outbox.queries import OUTBOX_HEALTH
from ..process_names import WORKER
from ..reconciliation.incomplete import why_incomplete
from ..reconciliation.queries import LAST_VERDICT
from .app_state import state_of

_TIMEOUT_SECONDS = 2.0
# The worker reports every 5 s.
_BEAT_WARN_SECONDS, _BEAT_FAIL_SECONDS = 15, 60
# A mail outage is not signup's fault: it is a warning for an hour before it fails the check.
_DUE_WARN_SECONDS, _DUE_FAIL_SECONDS = 60, 3600
# A reconciliation is due every hour.
_RECONCILIATION_WARN_SECONDS = 7200


async def checks(request: Request) -> dict[str, Check]:
    state = state_of(request)
    own, valkey = await asyncio.gather(
        _own_database(state.database, state.kept, state.reconcile_lag_seconds), _valkey(state.redis_url)
    )
    return own | {"valkey": valkey, "challenge": _challenge(state.challenge)}


def _challenge(challenge: ChallengePolicy) -> Check:
    if challenge.mode == "under_attack" and challenge.switch.on:
        detail = "Too many signups a minute: callers without a key must solve a challenge (SIGNUP_CHALLENGE)"
        return Check(Status.WARN, "on", detail=detail)
    return Check(Status.PASS, challenge.mode)


async def _own_database(database: Database, kept: Sequence[PartitionRetention], lag_seconds: float) -> dict[str, Check]:
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            outbox = await database.pool.fetchrow(OUTBOX_HEALTH, list(EFFECTS))
            beat = await database.pool.fetchrow(LAST_BEAT, WORKER)
            ledgers = await database.pool.fetchrow(LAST_VERDICT)
            findings = await finding_checks(database.pool)
            partitions = await partition_checks(database.pool, kept)
    except UNAVAILABLE as error:
        # The other checks read this database too.
        return {"database": Check(Status.FAIL, detail=describe(error))}
    took = asyncio.get_running_loop().time() - began
    assert outbox is not None
    assert ledgers is not None
    found = {
        "database": Check(Status.PASS, round(took * 1000, 1), "ms"),
        "outbox_oldest_due": graded(
            outbox["oldest_due_seconds"] or 0.0, "s", warn_at=_DUE_WARN_SECONDS, fail_at=_DUE_FAIL_SECONDS
        ),
        "outbox_dead": graded(outbox["dead_rows"], "rows", warn_at=1, detail="Dead letters: retry or cancel them"),
        "reconciliation": _reconciliation(ledgers, lag_seconds),
        **partitions,
        **findings,
    }
    if beat is None:
        return found | {"worker": Check(Status.WARN, detail="No worker has reported yet")}
    worker = graded(beat["age_seconds"], "s", warn_at=_BEAT_WARN_SECONDS, fail_at=_BEAT_FAIL_SECONDS)
    detail = orjson.loads(beat["detail"])
    return found | {"worker": worker} | _breakers(detail) | failing_loops(detail)


def _reconciliation(ledgers: Record, lag_seconds: float) -> Check:
    verdict, age_seconds = ledgers["verdict"], ledgers["age_seconds"] or 0.0
    # The first run is due an hour after the first signup.
    overdue = (ledgers["first_user_seconds"] or 0.0) >= _RECONCILIATION_WARN_SECONDS
    if verdict is None:
        detail = "No reconciliation has run yet; the first one is due an hour after the first signup"
        return Check(Status.WARN if overdue else Status.PASS, detail=detail)
    incomplete = why_incomplete(ledgers, lag_seconds=lag_seconds)
    is_early = incomplete is not None and incomplete.is_early
    if verdict != "balanced" and not is_early:
        detail = f"{incomplete.reason}. " if incomplete else ""
        return Check(Status.WARN, verdict, detail=f"{detail}See GET /audit/reconciliation for the findings")
    if age_seconds >= _RECONCILIATION_WARN_SECONDS and (overdue or not is_early):
        return Check(Status.WARN, verdict, detail=f"The last run ended {age_seconds:.0f} s ago")
    return Check(Status.PASS, verdict, detail=incomplete.reason if incomplete else "")


def _breakers(detail: dict[str, Any]) -> dict[str, Check]:
    """The breakers as the worker last reported them."""
    return {
        f"breaker_{name}": Check(
            Status.PASS if effect["breaker"] == BreakerState.CLOSED else Status.WARN,
            effect["breaker"],
            detail=effect["last_fault"] or "",
        )
        for name, effect in detail.get("effects", {}).items()
    }


async def _valkey(url: str) -> Check:
    import redis.asyncio  # noqa: PLC0415 - 3 MB, which an API without a limit uses only here

    client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await client.ping()
    except (redis.RedisError, OSError) as error:
        detail = f"Valkey is unreachable: cron jobs wait, nothing is lost. {describe(error)}"
        return Check(Status.WARN, detail=detail)
    finally:
        await client.aclose()
    return Check(Status.PASS, round((asyncio.get_running_loop().time() - began) * 1000, 1), "ms")
