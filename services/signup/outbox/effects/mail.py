"""The effect `mail`: requests mails from the mail service, a batch in one call.

The outbox row's ID is the request ID, and everything in a request comes from the row. Every retry therefore requests
the same mail, and the mail service sends it once (P4).
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
import orjson
from pydantic import ValidationError

from shared.contract.correlation import Correlation
from shared.contract.ids import UUID, uuid7
from shared.contract.key_ring import UnknownSigningKeyError
from shared.contract.mails import BatchAnswer, BatchResult, MailProblem
from shared.observability.foreign_errors import describe
from shared.observability.spans import OFF, Kind, Span, Tracing

from ... import mail_client
from ...settings import Settings
from ...verification_token import TokenRing
from ..retry_policy import ClaimedRow, Done, Outcome, PeerFaultError, Refused, TryLater
from .recipient_name import name_in_mails

_PATH = "/v1/mails/batch"
# Statuses of a rejected item that mean "not now", besides all 5xx (RFC 9110, 6585, 8470).
_NOT_NOW = frozenset({408, 425, 429})
_SERVER_ERRORS = 500
_OK = 200
_MAX_ERROR_LENGTH = 1000


class MailEffect:
    """Hands rows to `POST /v1/mails/batch`. Writes nothing itself."""

    name = "mail"

    def __init__(
        self, client: httpx.AsyncClient, ring: TokenRing, *, timeout_seconds: float, tracing: Tracing = OFF
    ) -> None:
        self._client = client
        self._ring = ring
        self._timeout_seconds = timeout_seconds
        self._tracing = tracing

    @classmethod
    def connect(cls, settings: Settings, ring: TokenRing, tracing: Tracing = OFF) -> "MailEffect":
        client = mail_client.connect(settings)
        return cls(client, ring, timeout_seconds=settings.mail_timeout_seconds, tracing=tracing)

    async def close(self) -> None:
        await self._client.aclose()

    async def perform(self, entries: Sequence[ClaimedRow]) -> dict[UUID, Outcome]:
        """Returns the mail service's verdict on each row.

        Raises:
            PeerFaultError: it gave none.
        """
        requests: list[dict[str, Any]] = []
        outcomes: dict[UUID, Outcome] = {}
        for entry in entries:
            try:
                requests.append(mail_request(entry, self._ring))
            except UnknownSigningKeyError as error:
                outcomes[entry.id] = TryLater(str(error))
        if requests:
            answer = await self._post(requests)
            results = {result.request_id: result for result in answer.results}
            for entry in entries:
                outcomes.setdefault(entry.id, verdict(results.get(str(entry.id))))
        return outcomes

    async def _post(self, requests: list[dict[str, Any]]) -> BatchAnswer:
        span = self._begin_span(requests)
        try:
            # httpx restarts its own timeout with every byte; the lease does not restart.
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._client.post(
                    _PATH,
                    content=orjson.dumps({"mails": requests}),
                    headers=Correlation(str(uuid7()), span.traceparent).headers(),
                )
        except (httpx.HTTPError, OSError) as error:
            span.end(error=type(error).__name__)
            raise PeerFaultError(f"The mail service did not answer: {describe(error)}") from error
        status = response.status_code
        span.end({"http.response.status_code": status}, error=None if status == _OK else str(status))
        if status != _OK:
            raise PeerFaultError(f"The mail service answered {status} {_title(response)}")
        try:
            return BatchAnswer.model_validate_json(response.content)
        except ValidationError as error:
            raise PeerFaultError(
                f"The mail service's answer cannot be read: {error.error_count()} errors, "
                f"the first at {error.errors()[0]['loc']}"
            ) from error

    def _begin_span(self, requests: list[dict[str, Any]]) -> Span:
        """Begins the span of a call: its own trace, because it serves many rows, with a link to each row's span."""
        return self._tracing.begin(
            f"POST {_PATH}",
            Kind.CLIENT,
            links=[request["traceparent"] for request in requests],
            attributes={
                "http.request.method": "POST",
                "url.template": _PATH,
                "server.address": self._client.base_url.host,
                "messaging.batch.message_count": len(requests),
            },
        )


def mail_request(entry: ClaimedRow, ring: TokenRing) -> dict[str, Any]:
    """Builds the request from nothing but the row and the key that it names.

    Raises:
        UnknownSigningKeyError: the row's link cannot be signed.
    """
    payload = entry.payload
    name = name_in_mails(payload["to"]["name"])
    variables = {"name": name, **payload.get("brand", {})}
    link = payload.get("link")
    if link:
        variables["link"] = f"{link['base']}/verify/{ring.sign(entry.id, link['key_id'])}"
        variables["expires_in_hours"] = max(1, round(link["ttl_seconds"] / 3600))
    request = {
        "request_id": str(entry.id),
        "to": payload["to"] if name else {"email": payload["to"]["email"]},
        "template": payload["template"],
        "variables": variables,
        "locale": payload["locale"],
        "metadata": {"user_id": str(entry.user_id)},
        "tags": [payload["template"]],
        # Not part of the content: the mail service keeps the values of the first request.
        "correlation_id": entry.correlation_id,
        "traceparent": entry.traceparent,
    }
    if "lane" in payload:
        request["lane"] = payload["lane"]
    return request


def verdict(result: BatchResult | None) -> Outcome:
    """What one result of a batch means for its row."""
    if result is None:
        return TryLater("The mail service's answer has no result for this mail")
    if result.mail is not None and result.outcome != "rejected":
        return Done({"mail_id": result.mail.id, "state": result.mail.state, "fingerprint": result.mail.fingerprint})
    if result.problem is None:
        return TryLater(f"The mail service answered `{result.outcome}` without a problem")
    if result.problem.status in _NOT_NOW or result.problem.status >= _SERVER_ERRORS:
        return TryLater(_describe(result.problem))
    return Refused(_describe(result.problem))


def _describe(problem: MailProblem) -> str:
    # Stored in a text column, which holds no NUL, and shown to operators.
    return f"{problem.status} {problem.title}: {problem.detail}".replace("\0", "")[:_MAX_ERROR_LENGTH]


def _title(response: httpx.Response) -> str:
    try:
        problem = MailProblem.model_validate_json(response.content)
    except ValidationError:
        return response.reason_phrase
    return f"{problem.title}: {problem.detail}".replace("\0", "")[:_MAX_ERROR_LENGTH]
