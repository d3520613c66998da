"""Calls to the mail service about its ledger: reading it, and restoring lost records. Sending is not here.

Every call has one deadline and either returns a complete answer or raises.
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
from shared.observability.foreign_errors import describe

from . import mail_client
from .outbox.retry_policy import PeerFaultError
from .process_names import MAIL_CLIENT
from .settings import Settings

_OK, _GONE, _UNPROCESSABLE = 200, 410, 422


class CursorLostError(Exception):
    """The mail ledger was restored to an earlier time: the feed entry at the cursor is gone."""


class RefusedError(Exception):
    """The mail service refuses this for good. Do not retry."""


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Change(_Read):
    """An entry of the change feed: one state change of a mail."""

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
    # None: the mail service is of before this member.
    more: bool | None = None


class _Person(_Read):
    email: str | None


class LedgerMail(_Read):
    """A mail in the mail service's ledger, in its current state."""

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
    """What the mail service still knows of a mail whose row was deleted from its ledger."""

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
    """By request ID. An ID in neither mapping was never in that ledger."""

    found: dict[str, LedgerMail]
    lost: dict[str, LostMail] = Field(default_factory=dict)


class _Restored(_Read):
    restored: list[str]


_Model = TypeVar("_Model", bound=_Read)


class MailService:
    """Every call raises PeerFaultError when there is no usable answer: retry later."""

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
        """State changes after a cursor, or from the beginning.

        Raises:
            CursorLostError: restart from the beginning.
        """
        params = {"limit": str(limit)} | ({"after": after} if after else {})
        response = await self._request("GET", "/v1/changes", params=params)
        if response.status_code == _GONE:
            raise CursorLostError
        return self._read(Changes, response)

    async def look_up(self, request_ids: Sequence[str]) -> LookedUp:
        """What the mail ledger knows of up to 1,000 request IDs."""
        response = await self._request("POST", "/v1/mails/lookup", body={"request_ids": list(request_ids)})
        return self._read(LookedUp, response)

    async def list_accepted(self, after: datetime, before: datetime, cursor: str | None, limit: int) -> MailPage:
        """A page of signup's mails that were accepted in a window, newest first."""
        params = {
            "client": MAIL_CLIENT,
            "accepted_after": after.isoformat(),
            "accepted_before": before.isoformat(),
            "limit": str(limit),
        }
        response = await self._request("GET", "/v1/mails", params=params | ({"cursor": cursor} if cursor else {}))
        return self._read(MailPage, response)

    async def restore(self, mails: Sequence[Mapping[str, Any]]) -> list[str]:
        """Write mails known to have been sent into the mail ledger. Returns the request IDs that were written.

        Raises:
            RefusedError: one mail is not acceptable; nothing was written.
        """
        response = await self._request("POST", "/v1/mails/restore", body={"mails": list(mails)})
        if response.status_code == _UNPROCESSABLE:
            raise RefusedError
        return self._read(_Restored, response).restored

    async def _request(
        self, method: str, path: str, *, params: Mapping[str, str] | None = None, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        try:
            # httpx restarts its own timeout with every byte.
            async with asyncio.timeout(self._timeout_seconds):
                return await self._client.request(
                    method,
                    path,
                    params=params,
                    content=None if body is None else orjson.dumps(body),
                    headers=Correlation(str(uuid7())).headers(),
                )
        except (httpx.HTTPError, OSError) as error:
            raise PeerFaultError(f"The mail service did not answer: {describe(error)}") from error

    @staticmethod
    def _read(model: type[_Model], response: httpx.Response) -> _Model:
        # The body stays out of the error: it may contain an address.
        if response.status_code != _OK:
            raise PeerFaultError(f"The mail service answered {response.status_code}")
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise PeerFaultError(f"The mail service's answer cannot be read: {error.error_count()} errors") from error
