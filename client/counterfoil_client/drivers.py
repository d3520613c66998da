"""Perform the steps of plans with httpx: `Driver` blocks, `AsyncDriver` runs on asyncio. Nothing is decided here."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx

from .steps import Answer, Emit, NoAnswer, Outcome, Pause, Plan, Send, Stream, T
from .version import __version__

# No connection was made, so no request was received. Everything else of httpx's may come after it was.
_NOT_CONNECTED = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
# A mistake of the caller's own, which no repetition repairs.
_MISUSE = (httpx.UnsupportedProtocol, httpx.LocalProtocolError)


class Driver:
    """Owns an `httpx.Client`."""

    def __init__(self, http: httpx.Client, sleep: Callable[[float], None] = time.sleep) -> None:
        self._http = http
        self._sleep = sleep

    def run(self, plan: Plan[T]) -> T:
        """The result of the plan."""
        outcome: Outcome | None = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = self._perform(step)

    def iterate(self, plan: Stream[T]) -> Iterator[T]:
        """The items of the plan, each when it is asked for."""
        outcome: Outcome | None = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration:
                return
            outcome = None
            if isinstance(step, Emit):
                yield step.item
            else:
                outcome = self._perform(step)

    def close(self) -> None:
        self._http.close()

    def _perform(self, step: Send | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            self._sleep(step.seconds)
            return None
        ends_at = time.monotonic() + step.timeout_seconds
        try:
            with self._http.stream(**_arguments(step)) as response:
                body = bytearray()
                for part in response.iter_bytes():
                    body += part
                    # httpx restarts its own timeout with every byte.
                    if time.monotonic() > ends_at:
                        return _too_slow(step)
                return _answer(response, bytes(body))
        except _MISUSE:
            raise
        except httpx.RequestError as error:
            return _no_answer(error)


class AsyncDriver:
    """Owns an `httpx.AsyncClient`."""

    def __init__(self, http: httpx.AsyncClient, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._http = http
        self._sleep = sleep

    async def run(self, plan: Plan[T]) -> T:
        """See `Driver.run`."""
        outcome: Outcome | None = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration as end:
                result: T = end.value
                return result
            outcome = await self._perform(step)

    async def iterate(self, plan: Stream[T]) -> AsyncIterator[T]:
        """See `Driver.iterate`."""
        outcome: Outcome | None = None
        while True:
            try:
                step = plan.send(outcome)
            except StopIteration:
                return
            outcome = None
            if isinstance(step, Emit):
                yield step.item
            else:
                outcome = await self._perform(step)

    async def close(self) -> None:
        await self._http.aclose()

    async def _perform(self, step: Send | Pause) -> Outcome | None:
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
            return None
        ends_at = asyncio.get_running_loop().time() + step.timeout_seconds

        async def trace(event: str, _info: object) -> None:
            # httpx limits connecting by itself. Interrupted there, it would leave a socket open.
            if event == "connection.connect_tcp.started":
                time_limit.reschedule(None)
            elif event.endswith("send_request_headers.started"):
                time_limit.reschedule(ends_at)

        try:
            async with asyncio.timeout_at(ends_at) as time_limit:
                response = await self._http.request(**_arguments(step), extensions={"trace": trace})
                return _answer(response, response.content)
        except TimeoutError:
            return _too_slow(step)
        except _MISUSE:
            raise
        except httpx.RequestError as error:
            return _no_answer(error)


def http_options(url: str, *, api_key: str | None, verify: ssl.SSLContext | bool) -> dict[str, Any]:
    """What both clients of httpx are made with.

    Raises:
        ValueError: no HTTP URL, or a key that no header can carry.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("The URL must begin with http:// or https:// and name a host")
    if api_key is not None and not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key != ""):
        raise ValueError("The API key must be printable ASCII, without spaces around it")
    headers = {"user-agent": f"counterfoil-client/{__version__}", "accept": "application/json"}
    if api_key is not None:
        headers["authorization"] = f"Bearer {api_key}"
    if parts.scheme == "http" and verify is True:
        verify = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # empty: loading certificates takes time and 1 MB
    return {"base_url": url, "headers": headers, "verify": verify}


def _arguments(step: Send) -> dict[str, Any]:
    call = step.call
    headers = dict(call.headers)
    if call.body is not None:
        headers["content-type"] = "application/json"
    return {
        "method": call.method,
        "url": call.path,
        "params": call.params or None,
        "content": call.body,
        "headers": headers,
        # Half for TCP and half for TLS, so that connecting takes no longer than the whole may.
        "timeout": httpx.Timeout(step.timeout_seconds, connect=step.timeout_seconds / 2),
    }


def _answer(response: httpx.Response, body: bytes) -> Answer:
    return Answer(response.status_code, {name.lower(): value for name, value in response.headers.items()}, body)


def _too_slow(step: Send) -> NoAnswer:
    return NoAnswer(may_have_arrived=True, reason=f"No whole answer within {step.timeout_seconds:.1f} s")


def _no_answer(error: httpx.RequestError) -> NoAnswer:
    # Not its text: httpx may quote the URL, which may hold an address.
    return NoAnswer(may_have_arrived=not isinstance(error, _NOT_CONNECTED), reason=f"No answer: {type(error).__name__}")
