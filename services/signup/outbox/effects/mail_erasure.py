"""The effect `erase_mail`: asks the mail service to erase what it holds about an erased user."""

import asyncio
from collections.abc import Sequence
from typing import ClassVar

import httpx
import orjson

from shared.contract.correlation import Correlation
from shared.contract.ids import UUID, uuid7
from shared.observability.foreign_errors import describe

from ... import mail_client
from ...settings import Settings
from ..events import Event
from ..retry_policy import ClaimedRow, Done, Outcome, PeerFaultError, Refused, TryLater

_OK, _NOT_FOUND, _TOO_MANY, _SERVER_ERRORS = 200, 404, 429, 500
# About the caller, not the row: the key is unknown or lacks the scope.
_KEY_REFUSED = frozenset({401, 403})
_MAX_CONCURRENT = 8


class MailErasureEffect:
    """A repeated call does no harm: it finds nothing left to erase."""

    name = "erase_mail"
    owed_for: ClassVar = frozenset({Event.ERASED})

    def __init__(self, client: httpx.AsyncClient, *, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds

    @classmethod
    def connect(cls, settings: Settings) -> "MailErasureEffect":
        client = mail_client.connect(settings)
        return cls(client, timeout_seconds=settings.mail_timeout_seconds)

    async def close(self) -> None:
        await self._client.aclose()

    async def perform(self, entries: Sequence[ClaimedRow]) -> dict[UUID, Outcome]:
        """Makes one call per row, a few at once, all within the timeout of one: the lease must outlast them.

        Raises:
            PeerFaultError: the mail service is out of order.
        """
        outcomes: dict[UUID, Outcome] = {entry.id: TryLater("No time was left for this call") for entry in entries}
        slots = asyncio.Semaphore(_MAX_CONCURRENT)

        async def erase(entry: ClaimedRow) -> None:
            async with slots:
                outcomes[entry.id] = verdict(await self._post(entry))

        calls = [asyncio.create_task(erase(entry)) for entry in entries]
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await asyncio.gather(*calls)
        except TimeoutError as error:
            if all(isinstance(outcome, TryLater) for outcome in outcomes.values()):
                raise PeerFaultError("The mail service did not answer in time") from error
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
        return outcomes

    async def _post(self, entry: ClaimedRow) -> httpx.Response:
        here = Correlation(entry.correlation_id or str(uuid7()), entry.traceparent)
        try:
            return await self._client.post(
                "/v1/erasures",
                content=orjson.dumps({"metadata": {"user_id": str(entry.user_id)}}),
                headers=here.headers(),
            )
        except (httpx.HTTPError, OSError) as error:
            raise PeerFaultError(f"The mail service did not answer: {describe(error)}") from error


def verdict(response: httpx.Response) -> Outcome:
    """What an answer means for a row.

    Raises:
        PeerFaultError: the answer is about the mail service or signup's key, not about the row.
    """
    status = response.status_code
    if status == _OK:
        try:
            return Done({"erased": response.json()["erased"]})
        except (ValueError, LookupError, TypeError) as error:
            raise PeerFaultError("The mail service's answer cannot be read") from error
    if status >= _SERVER_ERRORS or status in _KEY_REFUSED:
        raise PeerFaultError(f"The mail service answered {status}")
    if status in (_NOT_FOUND, _TOO_MANY):  # a mail service too old for this call; a busy one
        return TryLater(f"The mail service answered {status}")
    return Refused(f"The mail service answered {status}")
