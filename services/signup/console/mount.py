"""Where the API meets the console: one route, which loads the console when it is first asked for."""

import asyncio
import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

if TYPE_CHECKING:
    from starlette.datastructures import URLPath

    from ..settings import Settings
    from .console import Console

PATH = "/console"


class ConsoleRoute(BaseRoute):
    """Matches `/console` and all below it. `path` is what metrics and logs show until a page is chosen."""

    path = PATH

    def __init__(self, settings: "Settings") -> None:
        self._settings = settings
        self._console: Console | None = None
        self._loading = asyncio.Lock()

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        path: str = scope["path"]
        is_ours = scope["type"] == "http" and (path == PATH or path.startswith(f"{PATH}/"))
        return (Match.FULL if is_ours else Match.NONE), {"route": self}

    def url_path_for(self, name: str, /, **_: object) -> "URLPath":
        raise NoMatchFound(name, {})

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        console = self._console or await self._load(scope)
        await console(scope, receive, send)

    async def _load(self, scope: Scope) -> "Console":
        async with self._loading:
            if self._console is None:
                # On a thread: half a second in which other requests go on.
                module = await asyncio.to_thread(importlib.import_module, f"{__package__}.console")
                make: Callable[..., Console] = module.make_console
                self._console = make(self._settings, scope["app"].state)
            return self._console

    async def close(self) -> None:
        """Close what the console has opened, if it was ever asked for."""
        if self._console is not None:
            await self._console.close()
