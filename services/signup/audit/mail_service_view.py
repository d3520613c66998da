"""The mail service as signup's timeline and alerts see it. Both work without it, so every call has a short timeout."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from shared.audit.operator_mail import AlertNotSentError, OperatorMail
from shared.contract.correlation import current
from shared.contract.mails import MAX_LOOKUP
from shared.observability.foreign_errors import describe

from .. import mail_client
from ..settings import Settings

_TIMEOUT_SECONDS = 3.0
# Enough to be quick for a user with many mails, few enough not to be a load.
_MAX_CONCURRENT = 8
_PAGE = 500
_OK, _ACCEPTED = 200, 202


class MailServiceViewError(Exception):
    """The mail service gave no usable answer."""


class MailServiceView:
    """Calls with signup's own key, so it sees signup's own mails."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(_MAX_CONCURRENT)

    @classmethod
    def connect(cls, settings: Settings) -> "MailServiceView":
        client = mail_client.connect(settings, timeout_seconds=_TIMEOUT_SECONDS)
        return cls(client)

    async def close(self) -> None:
        await self._client.aclose()

    async def look_up(self, request_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Returns the mails of these request IDs. Raises MailServiceViewError."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(request_ids), MAX_LOOKUP):
            asked = {"request_ids": list(request_ids[start : start + MAX_LOOKUP])}
            found |= (await self._read("POST", "/v1/mails/lookup", asked))["found"]
        return found

    async def history_of(self, mail_id: str) -> list[dict[str, Any]]:
        """Returns the whole history of a mail. Raises MailServiceViewError."""
        return await self._all(f"/v1/mails/{mail_id}/history")

    async def attempts_of(self, mail_id: str) -> list[dict[str, Any]]:
        """Returns every attempt at a mail, with the gateway's reply. Raises MailServiceViewError."""
        return await self._all(f"/v1/mails/{mail_id}/attempts")

    async def gateways(self) -> dict[str, Any] | None:
        """Returns the mail service's gateways, or None when it answers with an error. Raises MailServiceViewError.

        Needs `mails:read`, which signup's key has anyway. The checks of `/health` would need `audit:read`, and with it
        signup could read the history of every client.
        """
        response = await self._ask("GET", "/v1/gateways")
        return self._body(response) if response.status_code == _OK else None

    async def send_alert(self, alert: OperatorMail) -> None:
        """Sends an alert as any mail, once per request ID. Raises AlertNotSentError when it was not accepted."""
        mail = {
            "request_id": alert.request_id,
            "to": {"email": alert.to},
            "subject": alert.subject,
            "text": alert.text,
            # Better twice than never.
            "on_uncertain": "resend",
        }
        try:
            response = await self._ask("POST", "/v1/mails", mail)
            state = self._body(response).get("state")
        except MailServiceViewError as error:
            raise AlertNotSentError(str(error)) from error
        if response.status_code != _ACCEPTED or state == "suppressed":
            raise AlertNotSentError(f"the mail service answered {response.status_code}, state {state}")

    async def _all(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            page = await self._read("GET", path, params={"limit": str(_PAGE)} | ({"cursor": cursor} if cursor else {}))
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    async def _read(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, params: Mapping[str, str] | None = None
    ) -> Any:
        response = await self._ask(method, path, body, params=params)
        if response.status_code != _OK:
            raise MailServiceViewError(f"the mail service answered {response.status_code}")
        return self._body(response)

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, params: Mapping[str, str] | None = None
    ) -> httpx.Response:
        here = current()
        try:
            async with self._slots, asyncio.timeout(_TIMEOUT_SECONDS):
                return await self._client.request(
                    method,
                    path,
                    params=params,
                    content=None if body is None else orjson.dumps(body),
                    headers=here.headers() if here else None,
                )
        except (httpx.HTTPError, OSError) as error:
            raise MailServiceViewError(f"the mail service did not answer: {describe(error)}") from error

    @staticmethod
    def _body(response: httpx.Response) -> dict[str, Any]:
        try:
            body = orjson.loads(response.content)
        except orjson.JSONDecodeError as error:
            raise MailServiceViewError("the mail service's answer cannot be read") from error
        if not isinstance(body, dict):
            raise MailServiceViewError("the mail service's answer cannot be read")
        return body
