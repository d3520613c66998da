"""Keeps an arq worker running beside the loops, for as long as the process lives.

arq carries the cron. It holds no state that matters, and the loops go on while Valkey is down.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import orjson

from . import lean_redis  # noqa: F401 - first: it decides what redis loads

from arq.connections import RedisSettings  # isort: skip
from arq.cron import CronJob, cron  # isort: skip
from arq.worker import Worker  # isort: skip
from redis import exceptions as redis_errors  # isort: skip - not by name: its TimeoutError would hide Python's
from redis.asyncio.retry import Retry  # isort: skip
from redis.backoff import ExponentialBackoff  # isort: skip

from ..observability.foreign_errors import describe
from ..observability.logs import get_logger
from .backoff import full_jitter
from .schedule import CronWakeup

_log = get_logger(__name__)

# How late a cron wake-up may come. The loops poll by themselves, so none of them is urgent; each poll costs Valkey and
# this process a round trip.
_POLL_SECONDS = 5.0


def redis_settings(url: str, *, patient: bool) -> RedisSettings:
    """Connection settings for arq. `patient` ones survive a restart of the server (measured: arq dies without)."""
    settings = RedisSettings.from_dsn(url)
    settings.conn_timeout = 1
    settings.conn_retries = 0
    if patient:
        settings.retry = Retry(ExponentialBackoff(cap=1, base=0.05), 20)
        settings.retry_on_timeout = True
        settings.retry_on_error = [
            redis_errors.ConnectionError,
            redis_errors.TimeoutError,
            redis_errors.BusyLoadingError,
            OSError,
        ]
    return settings


def dumps(job: dict[str, Any]) -> bytes:
    """Jobs are JSON: unpickling would run any code written into Valkey."""
    return orjson.dumps(job, default=str)


def _job_of(line: CronWakeup) -> CronJob:
    async def wake(ctx: dict[Any, Any], *_: Any, **__: Any) -> None:
        del ctx
        line.wakeup.set()

    return cron(
        wake, name=line.name, second=line.second, minute=line.minute, hour=line.hour, unique=False, keep_result=0
    )


async def run_arq(
    *,
    redis_url: str,
    queue_name: str,
    wakeups: Sequence[CronWakeup],
    stop: asyncio.Event,
    poll_seconds: float = _POLL_SECONDS,
) -> None:
    """Run an arq worker until `stop`. When it dies with Valkey, start another with backoff."""
    failures = 0
    while not stop.is_set():
        worker = Worker(
            functions=[],
            cron_jobs=[_job_of(line) for line in wakeups],
            queue_name=queue_name,
            redis_settings=redis_settings(redis_url, patient=True),
            job_serializer=dumps,
            job_deserializer=orjson.loads,
            handle_signals=False,
            poll_delay=poll_seconds,
            health_check_key=f"{queue_name}:health",
            keep_result=60,
        )
        running = asyncio.create_task(worker.async_run())
        stopping = asyncio.create_task(stop.wait())
        started = asyncio.get_running_loop().time()
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not running.done():
            running.cancel()
        try:
            await running
        except asyncio.CancelledError:
            pass
        except Exception as error:  # noqa: BLE001 - the loops go on, whatever arq raised
            failures = 1 if asyncio.get_running_loop().time() - started > 60 else failures + 1  # noqa: PLR2004 - a healthy minute
            _log.warning("arq_worker_failed", queue=queue_name, error=describe(error))
        await _close(worker)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(full_jitter(max(failures, 1), base_seconds=0.2, cap_seconds=2.0)):
                await stop.wait()


async def _close(worker: Worker) -> None:
    """Valkey may be down, and arq retries its close as long as its work."""
    # For a job that was cut off, arq's close would raise and leave its connections open.
    jobs = list(worker.tasks.values())
    for job in jobs:
        job.cancel()
    await asyncio.gather(*jobs, return_exceptions=True)
    worker.tasks.clear()
    closing = asyncio.create_task(worker.close())
    await asyncio.wait({closing}, timeout=1)
    closing.cancel()
    await asyncio.gather(closing, return_exceptions=True)
