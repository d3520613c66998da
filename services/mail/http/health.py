"""The checks that make up the mail service's health, each with what it saw."""

import asyncio
from typing import Any

import orjson
import redis.asyncio
from redis.exceptions import RedisError
from starlette.requests import Request

from shared.audit.alert_reports import finding_checks
from shared.db.pool import UNAVAILABLE, Record
from shared.observability.health import Check, Status, graded
from shared.worker.partitions import partition_checks

from ..audit import queries
from .app_state import AppState, state_of

# A worker writes its heartbeat every 5 s.
_HEARTBEAT_WARN_SECONDS = 15
_HEARTBEAT_FAIL_SECONDS = 60
# A healthy worker takes a due mail within a second.
_OLDEST_DUE_WARN_SECONDS = 60
_OLDEST_DUE_FAIL_SECONDS = 900
# Somebody has to look at an uncertain mail: within the hour is fine, within the day is not.
_UNCERTAIN_FAIL_SECONDS = 86_400
# A worker wipes every few hours; a day late, people are kept longer than they were told.
_RETENTION_WARN_SECONDS = 86_400
_PATIENCE_SECONDS = 2.0


async def checks(request: Request) -> dict[str, Check]:
    """Named checks for `/health`. Never raises: what cannot be asked is a failed check."""
    state = state_of(request)
    valkey, ledger = await asyncio.gather(_valkey(state.redis_url), _ledger(state))
    return {**ledger, "valkey": valkey}


async def _valkey(url: str) -> Check:
    client = redis.asyncio.Redis.from_url(url, socket_connect_timeout=1, socket_timeout=1)
    try:
        await client.ping()
    except (RedisError, OSError) as error:
        # Only arq's cron is there; the loops poll.
        return Check(Status.WARN, detail=f"Valkey does not answer: {type(error).__name__}. Mails go out all the same.")
    finally:
        await client.aclose()
    return Check(Status.PASS)


async def _ledger(state: AppState) -> dict[str, Check]:
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            row = await state.database.pool.fetchrow(queries.HEALTH, state.content_days)
            partitions = await partition_checks(state.database.pool, state.kept)
            findings = await finding_checks(state.database.pool)
    except UNAVAILABLE as error:
        return {"database": Check(Status.FAIL, detail=f"The mail database does not answer: {type(error).__name__}")}
    assert row is not None
    return {
        "database": Check(Status.PASS),
        **_worker(row),
        **_queue(row),
        "retention": _retention(row, state.content_days),
        **partitions,
        **findings,
    }


def _worker(row: Record) -> dict[str, Check]:
    if row["heartbeat_seconds"] is None:
        return {"worker_heartbeat": Check(Status.WARN, detail="No mail worker has ever run: mails are queued only")}
    age = graded(
        float(row["heartbeat_seconds"]),
        "s",
        warn_at=_HEARTBEAT_WARN_SECONDS,
        fail_at=_HEARTBEAT_FAIL_SECONDS,
        detail="Since the mail worker was last heard of",
    )
    detail: dict[str, Any] = orjson.loads(row["heartbeat_detail"])
    gateways: dict[str, dict[str, Any]] = {gateway["name"]: gateway for gateway in detail.get("gateways", [])}
    return {"worker_heartbeat": age} | {
        f"gateway:{name}": Check(
            Status.PASS if gateway.get("breaker") == "closed" else Status.WARN,
            gateway.get("breaker"),
            detail=gateway.get("last_fault") or "",
        )
        for name, gateway in gateways.items()
    }


def _queue(row: Record) -> dict[str, Check]:
    return {
        "oldest_due_mail": graded(
            float(row["oldest_due_seconds"]),
            "s",
            warn_at=_OLDEST_DUE_WARN_SECONDS,
            fail_at=_OLDEST_DUE_FAIL_SECONDS,
            detail="How long the first mail in the queue has been due",
        ),
        "uncertain_mails": graded(
            float(row["uncertain_seconds"]),
            "s",
            warn_at=1,
            fail_at=_UNCERTAIN_FAIL_SECONDS,
            detail=f"Age of the oldest of {row['uncertain']} mails whose fate is unknown; resolve them",
        ),
    }


def _retention(row: Record, content_days: int) -> Check:
    if row["retention_seconds"] is None:
        return Check(Status.WARN, detail="No mail worker has wiped what is too old yet")
    age = round(float(row["retention_seconds"]), 3)
    if row["content_overdue"]:
        return Check(Status.WARN, age, "s", f"Content of settled mails is there, older than {content_days} days")
    return graded(age, "s", warn_at=_RETENTION_WARN_SECONDS, detail="Since what is too old was last wiped")
