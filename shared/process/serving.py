"""Runs the processes of a service: an API under uvicorn, a worker on uvloop. One set of options for both services."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..contract.configuration import ConfigurationError
from ..observability import logs
from .garbage import spare_collections
from .settings import ServiceSettings

if TYPE_CHECKING:  # a worker does not load it
    from fastapi import FastAPI

# Connections waiting to be accepted: a burst must not be refused while the loop is busy.
_BACKLOG = 4096
_DRAIN_SECONDS = 10
_START_FAILED = 3  # uvicorn's exit status
# A scrape or probe under way may end; the end of the process does not wait longer for one.
_OPERATIONS_DRAIN_SECONDS = 1


@dataclass(frozen=True)
class Address:
    """Where a server listens. Port 0: it does not."""

    host: str
    port: int


def run_api(
    name: str, settings: ServiceSettings, make_app: "Callable[[], FastAPI]", *, public: Address, operations: Address
) -> None:
    """Serve until SIGTERM or SIGINT, then finish the requests under way.

    With an operations port the process serves `app.state.operations_app` too, for as long as the lifespan of the app.

    Raises:
        ConfigurationError: a port cannot be bound.
    """
    # Imported late: a worker must not wait for an HTTP server to load.
    from .http_server import HttpServer, config_of  # noqa: PLC0415 - as above

    logs.configure(name, settings.log_level, personal_data=settings.log_personal_data)
    app = make_app()
    service = name.partition("-")[0].upper()
    _listen(public, service).close()  # uvicorn opens it again, and says less when it cannot
    if operations.port:
        _serve_operations_beside(app, _listen(operations, f"{service}_OPERATIONS"))
    spare_collections()
    config = config_of(
        app,
        host=public.host,
        port=public.port,
        lifespan="on",
        backlog=_BACKLOG,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
    )
    server = HttpServer(config)
    server.run()
    if not server.started:
        sys.exit(_START_FAILED)


def _listen(address: Address, variables: str) -> socket.socket:
    """Bound before anything else starts, so that a taken port stops the start. `variables` begins their names."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family)
    except OSError as error:
        raise ConfigurationError(
            f"{variables}_PORT={address.port} cannot be opened at {variables}_HOST={address.host}: {error.strerror}"
        ) from None


def _serve_operations_beside(app: "FastAPI", listener: socket.socket) -> None:
    """Serve within the app's lifespan: requests find open connections, and are answered while the API drains."""
    from .http_server import OperationsServer, config_of  # noqa: PLC0415 - only an API loads an HTTP server

    options = config_of(app.state.operations_app, lifespan="off", timeout_graceful_shutdown=_OPERATIONS_DRAIN_SECONDS)
    server = OperationsServer(options)
    open_connections = app.router.lifespan_context

    @asynccontextmanager
    async def lifespan(app: "FastAPI") -> AsyncIterator[Any]:
        async with open_connections(app) as state:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            try:
                yield state
            finally:
                server.stop()
                await serving

    app.router.lifespan_context = lifespan


def run_worker(name: str, settings: ServiceSettings, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `run()` until it returns."""
    import uvloop  # noqa: PLC0415 - commands do not need it

    logs.configure(name, settings.log_level, personal_data=settings.log_personal_data)
    spare_collections()
    uvloop.run(run())
