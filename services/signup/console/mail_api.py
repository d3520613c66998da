"""The mail service as an operator's key sees it. Every page works without it, so every call has a short timeout."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx
import orjson

from shared.contract.correlation import current
from shared.contract.principals import CONSOLE, INTERFACE_HEADER, OPERATOR_HEADER
from shared.observability.foreign_errors import describe

from .. import mail_client
from ..settings import Settings
from .operators import Operator

# The first list that the mail service is asked for takes it seconds on a small machine.
TIMEOUT_SECONDS = 8.0
_MAX_CONCURRENT = 8
# What a key may do there is asked again after this long; whether it may is decided there, on every call.
_ACCESS_SECONDS, _DOWN_SECONDS, _MAX_KNOWN = 15.0, 5.0, 200
_UNAUTHORIZED, _FORBIDDEN, _NO_CONTENT, _SERVER_ERRORS = 401, 403, 204, 500

Params = Mapping[str, str | Sequence[str]]


class MailFaultError(Exception):
    """The mail service's half cannot be shown; the text says why, for the page."""


class MailRefusedError(Exception):
    """The mail service refused this one call, with a problem."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        super().__init__(str(problem.get("detail", "")))
        self.status = status
        self.title = str(problem.get("title", "Refused by the mail service"))
        self.errors: list[Mapping[str, str]] = problem.get("errors") or []


@dataclass(frozen=True)
class MailAccess:
    """What an operator may do in the mail service. `fault`: nothing can be said, and why."""

    scopes: frozenset[str] = frozenset()
    fault: str = ""

    def may(self, *scopes: str) -> bool:
        return not self.fault and self.scopes.issuperset(scopes)


class MailApi:
    def __init__(self, client: httpx.AsyncClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)
        self._known: dict[str, tuple[float, MailAccess]] = {}

    @classmethod
    def connect(cls, settings: Settings) -> "MailApi":
        client = mail_client.connect(settings, timeout_seconds=TIMEOUT_SECONDS)
        del client.headers["Authorization"]  # signup's own key: never an operator's
        return cls(client)

    async def close(self) -> None:
        await self._client.aclose()

    async def access_of(self, operator: Operator) -> MailAccess:
        """What the operator's key may do there, as of some seconds ago at most."""
        until, known = self._known.get(operator.mail_key, (0.0, MailAccess()))
        if until > self._clock():
            return known
        try:
            answer = await self.call(operator, "GET", "/v1/key")
            found, seconds = MailAccess(frozenset(answer["scopes"])), _ACCESS_SECONDS
        except (MailFaultError, MailRefusedError) as error:
            found, seconds = MailAccess(fault=str(error)), _DOWN_SECONDS
        if len(self._known) >= _MAX_KNOWN:
            self._known.clear()
        self._known[operator.mail_key] = (self._clock() + seconds, found)
        return found

    async def call(
        self,
        operator: Operator,
        method: str,
        path: str,
        *,
        params: Params | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float = TIMEOUT_SECONDS,
    ) -> Any:
        """The answer to one call with the operator's key, within so many seconds.

        Raises:
            MailFaultError: no answer, or the key may not ask.
            MailRefusedError: any other refusal.
        """
        try:
            async with self._slots, asyncio.timeout(seconds):
                response = await self._client.request(
                    method,
                    path,
                    params=params,
                    content=None if body is None else orjson.dumps(body),
                    headers=_headers(operator),
                    timeout=seconds,
                )
        except (httpx.HTTPError, OSError) as error:
            raise MailFaultError(f"The mail service does not answer: {describe(error)}") from error
        return _read(response)


def _headers(operator: Operator) -> dict[str, str]:
    here = current()
    return {
        "Authorization": f"Bearer {operator.mail_key}",
        INTERFACE_HEADER: CONSOLE,
        **({OPERATOR_HEADER: quote(operator.name)} if operator.named_by_proxy else {}),
        **(here.headers() if here else {}),
    }


def _read(response: httpx.Response) -> Any:
    if response.status_code == _NO_CONTENT:
        return {}
    try:
        answer = orjson.loads(response.content)
    except orjson.JSONDecodeError:
        answer = None
    if response.status_code >= _SERVER_ERRORS or not isinstance(answer, dict):
        raise MailFaultError(f"The mail service answered {response.status_code}.")
    if response.status_code == _UNAUTHORIZED:
        raise MailFaultError("The mail service does not know this key.")
    if response.status_code == _FORBIDDEN:
        raise MailFaultError(f"The mail service refused: {answer.get('detail')}")
    if response.is_error:
        raise MailRefusedError(response.status_code, answer)
    return answer
