"""The other ledger as the timeline and the alerts of signup see it: never needed, so every question has a short end."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
import orjson

from shared.audit.operator_mail import AlertNotSentError, OperatorMail
from shared.contract.correlation import current
from shared.contract.mails import MAX_LOOKUP

from .. import mail_client
from ..settings import Settings

_PATIENCE_SECONDS = 3.0
# Enough to be quick about a person with many mails, few enough not to be a load.
_AT_ONCE = 8
_PAGE = 500
_OK, _ACCEPTED = 200, 202


class MailServiceViewError(Exception):
    """The mail service could not be asked."""


class MailServiceView:
    """Asks with signup's own key, so it sees signup's own mails."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._turns = asyncio.Semaphore(_AT_ONCE)

    @classmethod
    def connect(cls, settings: Settings) -> "MailServiceView":
        client = mail_client.connect(settings, timeout_seconds=_PATIENCE_SECONDS)
        return cls(client)

    async def close(self) -> None:
        await self._client.aclose()

    async def look_up(self, request_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The mails of these request IDs. Raises MailServiceViewError."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(request_ids), MAX_LOOKUP):
            asked = {"request_ids": list(request_ids[start : start + MAX_LOOKUP])}
            found |= (await self._read("POST", "/v1/mails/lookup", asked))["found"]
        return found

    async def history_of(self, mail_id: str) -> list[dict[str, Any]]:
        """Everything that happened to a mail. Raises MailServiceViewError."""
        return await self._all(f"/v1/mails/{mail_id}/history")

    async def attempts_of(self, mail_id: str) -> list[dict[str, Any]]:
        """Every attempt at sending it, in the gateway's words. Raises MailServiceViewError."""
        return await self._all(f"/v1/mails/{mail_id}/attempts")

    async def health(self) -> dict[str, Any]:
        """What it says about itself, healthy or not. Raises MailServiceViewError."""
        response = await self._ask("GET", "/health")
        return self._body(response)

    async def send_alert(self, letter: OperatorMail) -> None:
        """As any mail, once per request ID. Raises AlertNotSentError when it was not taken."""
        mail = {
            "request_id": letter.request_id,
            "to": {"email": letter.to},
            "subject": letter.subject,
            "text": letter.text,
            # Rather twice than never.
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
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        response = await self._ask(method, path, body, params=params)
        if response.status_code != _OK:
            raise MailServiceViewError(f"the mail service answered {response.status_code}")
        return self._body(response)

    async def _ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        params: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        here = current()
        try:
            async with self._turns, asyncio.timeout(_PATIENCE_SECONDS):
                return await self._client.request(
                    method,
                    path,
                    params=params,
                    content=None if body is None else orjson.dumps(body),
                    headers=here.headers() if here else None,
                )
        except (httpx.HTTPError, OSError) as error:
            raise MailServiceViewError(f"the mail service did not answer: {type(error).__name__}") from error

    @staticmethod
    def _body(response: httpx.Response) -> dict[str, Any]:
        try:
            body = orjson.loads(response.content)
        except orjson.JSONDecodeError as error:
            raise MailServiceViewError("the mail service's answer cannot be read") from error
        if not isinstance(body, dict):
            raise MailServiceViewError("the mail service's answer cannot be read")
        return body
