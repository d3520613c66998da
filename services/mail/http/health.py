"""The mail service's health checks, each with the value it observed."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.requests import Request

from shared.audit.alert_reports import finding_checks
from shared.db.pool import UNAVAILABLE, Record
from shared.observability.foreign_errors import describe
from shared.observability.health_checks import Check, Status, failing_loops, graded
from shared.worker.partitions import partition_checks

from ..audit import queries
from ..ledger.change_feed import FeedLag, read_lag
from .app_state import AppState, state_of

# A worker writes its heartbeat every 5 s.
_HEARTBEAT_WARN_SECONDS = 15
_HEARTBEAT_FAIL_SECONDS = 60
# A healthy worker claims a due mail within a second.
_OLDEST_DUE_WARN_SECONDS = 60
_OLDEST_DUE_FAIL_SECONDS = 900
# An operator must resolve an uncertain mail: warn at once, fail after a day.
_UNCERTAIN_FAIL_SECONDS = 86_400
# Workers wipe every few hours. A day late means that personal data is kept longer than promised.
_RETENTION_WARN_SECONDS = 86_400
_QUERY_TIMEOUT_SECONDS = 2.0


async def checks(request: Request) -> dict[str, Check]:
    """Checks for `/health`, by name. Never raises: an unreachable server is a failed check or a warning."""
    state = state_of(request)
    valkey, ledger = await asyncio.gather(_valkey(state.redis_url), _ledger(state))
    return {**ledger, "valkey": valkey}


async def _valkey(url: str) -> Check:
    import redis.asyncio  # noqa: PLC0415 - 3 MB, which the API uses only here

    client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
    try:
        await client.ping()
    except (redis.RedisError, OSError) as error:
        # Only arq's cron uses Valkey; the loops poll.
        return Check(Status.WARN, detail=f"Valkey does not answer: {describe(error)}. Mails are still sent.")
    finally:
        await client.aclose()
    return Check(Status.PASS)


async def _ledger(state: AppState) -> dict[str, Check]:
    try:
        async with asyncio.timeout(_QUERY_TIMEOUT_SECONDS):
            row = await state.database.pool.fetchrow(queries.HEALTH, state.content_days)
            lag = await read_lag(state.database.pool)
            partitions = await partition_checks(state.database.pool, state.kept)
            findings = await finding_checks(state.database.pool)
    except UNAVAILABLE as error:
        return {"database": Check(Status.FAIL, detail=f"The mail database does not answer: {describe(error)}")}
    assert row is not None
    return {
        "database": Check(Status.PASS),
        **_worker(row),
        **_queue(row),
        "change_feed": _change_feed(lag),
        "webhooks": _webhooks(row),
        "retention": _retention(row, state.content_days),
        **partitions,
        **findings,
    }


def _worker(row: Record) -> dict[str, Check]:
    if row["heartbeat_seconds"] is None:
        return {"worker_heartbeat": Check(Status.WARN, detail="No mail worker has ever run, so no mail is sent")}
    age = graded(
        float(row["heartbeat_seconds"]),
        "s",
        warn_at=_HEARTBEAT_WARN_SECONDS,
        fail_at=_HEARTBEAT_FAIL_SECONDS,
        detail="Time since the mail worker's last heartbeat",
    )
    detail: dict[str, Any] = orjson.loads(row["heartbeat_detail"])
    gateways: dict[str, dict[str, Any]] = {gateway["name"]: gateway for gateway in detail.get("gateways", [])}
    return (
        {"worker_heartbeat": age}
        | failing_loops(detail)
        | {f"gateway:{name}": _gateway(gateway) for name, gateway in gateways.items()}
    )


def _gateway(gateway: Mapping[str, Any]) -> Check:
    """A warning from the first fault on, long before the breaker opens."""
    breaker, faults = gateway.get("breaker"), gateway.get("faults_in_a_row", 0)
    wanted = gateway.get("connections", 0)
    allowed = gateway.get("connections_allowed", wanted)
    detail = gateway.get("last_fault") or ""
    if breaker != "closed" or faults:
        return Check(Status.WARN, breaker, detail=f"{detail} ({faults} faults in a row)")
    if allowed < wanted:
        detail = f"{allowed} of {wanted} connections are used, because the gateway turned more away"
    return Check(Status.PASS, breaker, detail=detail)


def _queue(row: Record) -> dict[str, Check]:
    return {
        "oldest_due_mail": graded(
            float(row["oldest_due_seconds"]),
            "s",
            warn_at=_OLDEST_DUE_WARN_SECONDS,
            fail_at=_OLDEST_DUE_FAIL_SECONDS,
            detail="Time since the oldest waiting mail became due",
        ),
        "uncertain_mails": graded(
            float(row["uncertain_seconds"]),
            "s",
            warn_at=1,
            fail_at=_UNCERTAIN_FAIL_SECONDS,
            detail=f"Age of the oldest of {row['uncertain']} mails in state uncertain; an operator must resolve them",
        ),
    }


def _change_feed(lag: FeedLag) -> Check:
    detail = "Age of the oldest change that GET /v1/changes does not show yet"
    if lag.is_late:
        detail += f". It is held back by {lag.holder or 'a transaction that has just ended'}"
    return Check(Status.WARN if lag.is_late else Status.PASS, round(lag.seconds, 3), "s", detail)


def _webhooks(row: Record) -> Check:
    """A subscriber that is down is no fault of the service. What was given up, its owner must be told."""
    detail: dict[str, Any] = orjson.loads(row["heartbeat_detail"] or "{}").get("webhooks") or {}
    waiting, oldest = detail.get("waiting", 0), detail.get("oldest_seconds", 0.0)
    words = f"Deliveries given up in the last day. {waiting} wait, the oldest for {oldest:.0f} s"
    return graded(row["dead_webhooks"], "deliveries", warn_at=1, detail=words)


def _retention(row: Record, content_days: int) -> Check:
    if row["retention_seconds"] is None:
        return Check(Status.WARN, detail="Retention has never run: no worker has wiped old content")
    age = round(float(row["retention_seconds"]), 3)
    if row["content_overdue"]:
        return Check(Status.WARN, age, "s", f"Settled mails still have content older than {content_days} days")
    return graded(age, "s", warn_at=_RETENTION_WARN_SECONDS, detail="Time since retention last ran")
