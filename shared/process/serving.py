"""Runs the processes of a service: an API under uvicorn, a worker on uvloop. One set of options for both services."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI

from ..observability import logs
from .gc_freeze import freeze_startup_objects
from .settings import ServiceSettings

# Connections waiting to be accepted: a burst must not be refused while the loop is busy.
_BACKLOG = 4096
_DRAIN_SECONDS = 10


def run_api(name: str, settings: ServiceSettings, make_app: Callable[[], FastAPI], *, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests under way."""
    # Imported late: a worker must not wait for an HTTP server to load.
    import uvicorn  # noqa: PLC0415

    logs.configure(name, settings.log_level, personal_data=settings.log_personal_data)
    app = make_app()
    freeze_startup_objects()
    uvicorn.run(
        app,
        host=host,
        port=port,
        loop="uvloop",  # explicit, like http: `auto` chose slower parts (ADR 2)
        http="httptools",
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        backlog=_BACKLOG,
        # httpx drops idle connections after 5 s, which is uvicorn's default too: a server that keeps them longer never
        # closes one just as a request arrives.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )


def run_worker(name: str, settings: ServiceSettings, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `run()` until it returns."""
    import uvloop  # noqa: PLC0415 - commands do not need it

    logs.configure(name, settings.log_level, personal_data=settings.log_personal_data)
    freeze_startup_objects()
    uvloop.run(run())
