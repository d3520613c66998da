"""`python -m local.mail_catcher`: both servers in one process, until SIGTERM. Settings as for `python -m local run`."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import uvicorn
import uvloop

from ..ports import LOOPBACK
from ..settings import read_settings
from .feedback import Feedback
from .smtp import Handler, make_protocol
from .store import Store
from .web import make_app

BACKLOG = 512
CLOSE_SECONDS = 2


class _Server(uvicorn.Server):
    """Captures no signals: `catch_mails` handles them for both servers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def smtp_server(handler: Handler, port: int) -> AsyncIterator[None]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: make_protocol(handler, loop), LOOPBACK, port, backlog=BACKLOG)
    try:
        yield
    finally:
        server.close()


async def catch_mails(folder: Path, run_env: Path, smtp_port: int, http_port: int) -> None:
    """Runs until SIGTERM or SIGINT. `run_env` names the mail service that gets bounces, if there is one."""
    store = Store(folder / "mails.sqlite3")
    handler = Handler(store, Feedback(store, run_env))
    configuration = uvicorn.Config(
        make_app(store),
        host=LOOPBACK,
        port=http_port,
        http="httptools",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=CLOSE_SECONDS,
    )
    web = _Server(configuration)

    def end() -> None:
        web.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    try:
        async with smtp_server(handler, smtp_port):
            await web.serve()
    finally:
        store.close()


if __name__ == "__main__":
    settings = read_settings()
    uvloop.run(
        catch_mails(
            settings.state / "catcher",
            settings.run_env,
            settings.ports["CATCHER_SMTP_PORT"],
            settings.ports["CATCHER_HTTP_PORT"],
        )
    )
