"""What signup asks the mail service about its ledger: reading it, and writing back what it has lost. Sending is not here.

Every call has one deadline, and either answers or raises: a half-read answer is no answer.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import httpx
import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, JsonValue, ValidationError

from shared.contract.correlation import Correlation
from shared.contract.ids import UUID, uuid7

from . import mail_client
from .names import MAIL_CLIENT
from .outbox.retry_policy import PeerFaultError
from .settings import Settings

_OK, _GONE, _UNPROCESSABLE = 200, 410, 422


class CursorLostError(Exception):
    """The mail ledger went back in time: the line that the cursor stands on is gone."""


class RefusedError(Exception):
    """The mail service will not take this, however often it is asked."""


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Change(_Read):
    """A line of the feed: what became of a mail."""

    at: AwareDatetime
    mail_id: UUID
    request_id: str
    client: str
    state: str
    message_id: str
    sent_at: AwareDatetime | None = None
    fingerprint: str
    detail: dict[str, JsonValue] = Field(default_factory=dict)


class Changes(_Read):
    items: list[Change]
    next_cursor: str


class _Person(_Read):
    email: str | None


class LedgerMail(_Read):
    """A mail as it stands in the mail service's ledger."""

    id: UUID
    request_id: str
    client: str
    state: str
    to: _Person
    fingerprint: str
    expires_at: AwareDatetime
    next_attempt_at: AwareDatetime | None = None
    attempts: int | None = None


class LostMail(_Read):
    """What the mail service remembers of a mail whose row was deleted from its ledger."""

    request_id: str
    mail_id: UUID
    state: str
    message_id: str
    fingerprint: str
    sent_at: AwareDatetime | None
    lost_at: AwareDatetime


class MailPage(_Read):
    items: list[LedgerMail]
    next_cursor: str | None


class LookedUp(_Read):
    """By request ID. What is in neither is not in that ledger, and never was."""

    found: dict[str, LedgerMail]
    lost: dict[str, LostMail] = Field(default_factory=dict)


class _Restored(_Read):
    restored: list[str]


_Model = TypeVar("_Model", bound=_Read)


class MailService:
    """Raises PeerFaultError when there is no answer that can be used: ask again later."""

    def __init__(self, client: httpx.AsyncClient, *, timeout_seconds: float) -> None:
        self._client = client
        self._timeout_seconds = timeout_seconds

    @classmethod
    def connect(cls, settings: Settings) -> "MailService":
        client = mail_client.connect(settings)
        return cls(client, timeout_seconds=settings.mail_timeout_seconds)

    async def close(self) -> None:
        await self._client.aclose()

    async def changes(self, after: str | None, limit: int) -> Changes:
        """What happened after a cursor, or from the beginning.

        Raises:
            CursorLostError: start again from the beginning.
        """
        params = {"limit": str(limit)} | ({"after": after} if after else {})
        response = await self._ask("GET", "/v1/changes", params=params)
        if response.status_code == _GONE:
            raise CursorLostError
        return self._read(Changes, response)

    async def look_up(self, request_ids: Sequence[str]) -> LookedUp:
        """What that ledger knows of up to 1,000 request IDs."""
        response = await self._ask("POST", "/v1/mails/lookup", body={"request_ids": list(request_ids)})
        return self._read(LookedUp, response)

    async def list_accepted(self, after: datetime, before: datetime, cursor: str | None, limit: int) -> MailPage:
        """A page of all mails of ours that were accepted in a window, newest first."""
        params = {
            "client": MAIL_CLIENT,
            "accepted_after": after.isoformat(),
            "accepted_before": before.isoformat(),
            "limit": str(limit),
        }
        response = await self._ask("GET", "/v1/mails", params=params | ({"cursor": cursor} if cursor else {}))
        return self._read(MailPage, response)

    async def restore(self, mails: Sequence[Mapping[str, Any]]) -> list[str]:
        """Write mails that were sent into that ledger, as sent; the request IDs that were written.

        Raises:
            RefusedError: one of them is not acceptable; nothing was written.
        """
        response = await self._ask("POST", "/v1/mails/restore", body={"mails": list(mails)})
        if response.status_code == _UNPROCESSABLE:
            raise RefusedError
        return self._read(_Restored, response).restored

    async def _ask(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        try:
            # httpx' own timeout starts anew with every byte.
            async with asyncio.timeout(self._timeout_seconds):
                return await self._client.request(
                    method,
                    path,
                    params=params,
                    content=None if body is None else orjson.dumps(body),
                    headers=Correlation(str(uuid7())).headers(),
                )
        except (httpx.HTTPError, OSError) as error:
            raise PeerFaultError(f"The mail service did not answer: {error or type(error).__name__}") from error

    @staticmethod
    def _read(model: type[_Model], response: httpx.Response) -> _Model:
        # What it says is not repeated: it may name an address.
        if response.status_code != _OK:
            raise PeerFaultError(f"The mail service answered {response.status_code}")
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise PeerFaultError(f"The mail service's answer cannot be read: {error.error_count()} errors") from error
