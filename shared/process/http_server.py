"""uvicorn's server, which wakes ten times a second to see whether it should end. This one wakes once, and when told."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

import uvicorn

_TICK_SECONDS = 1.0  # the Date header is set anew with each tick


class HttpServer(uvicorn.Server):
    """Serves until SIGTERM or SIGINT, or `stop`."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(_TICK_SECONDS):
                    await self._stopped.wait()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)

    def stop(self) -> None:
        self.should_exit = True
        self._stopped.set()


class OperationsServer(HttpServer):
    """Runs beside an API's server, which stops it after its own last request."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield  # signals are for the API's server


def config_of(app: Any, **options: Any) -> uvicorn.Config:
    """What both servers of a process have in common."""
    return uvicorn.Config(
        app,
        loop="uvloop",  # explicit, like http: `auto` chose slower parts (ADR 2)
        http="httptools",
        ws="none",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        # httpx drops idle connections after 5 s, which is uvicorn's default too: a server that keeps them longer never
        # closes one just as a request arrives. Longer than a scrape interval, too.
        timeout_keep_alive=75,
        **options,
    )
