"""The effect `webhook`: sends an event to a subscriber, signed as Standard Webhooks says (standardwebhooks.com).

One row is one event for one subscriber, so subscribers fail alone. The body comes from the row alone and names the user
by ID only: every retry sends the same bytes under the same `webhook-id`, and no personal data leaves.
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import httpcore
from standardwebhooks import Webhook

from shared.contract.ids import UUID
from shared.contract.json_text import dumps
from shared.db.pool import Pool, Record
from shared.observability.foreign_errors import describe
from shared.worker.backoff import equal_jitter
from shared.worker.circuit_breaker import Breaker, BreakerPolicy

from ...settings import Settings
from ...verification_token import TokenRing, UnknownSigningKeyError
from ..retry_policy import ClaimedRow, Done, Obsolete, Outcome, Postponed, TryLater
from . import queries
from .public_network import PrivateAddressError, PublicNetwork
from .webhook_secret import OLD_SECRET_SECONDS, derive_secret

_GONE = 410
_SUCCESS = range(200, 300)
# Only the status of an answer matters; reading a little of its body keeps the connection usable.
_MAX_ANSWER_BYTES = 64 * 1024
# Concurrent calls per subscriber.
_MAX_CONCURRENT = 8
_POLICY = BreakerPolicy(faults_to_open=3, first_probe_seconds=1.0, max_probe_seconds=60.0)


class WebhookEffect:
    """Calls subscribers that did not answer lately less often, so that they do not hold up the others."""

    name = "webhook"

    def __init__(self, pool: Pool, ring: TokenRing, *, timeout_seconds: float, allow_private: bool) -> None:
        self._pool = pool
        self._ring = ring
        self._timeout_seconds = timeout_seconds
        self._breakers: dict[UUID, Breaker] = {}
        self._slots: dict[UUID, asyncio.Semaphore] = {}
        self._connections = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=100,
            keepalive_expiry=30,
            network_backend=PublicNetwork(allow_private=allow_private),
        )

    @classmethod
    def connect(cls, settings: Settings, ring: TokenRing, pool: Pool) -> "WebhookEffect":
        return cls(
            pool,
            ring,
            timeout_seconds=settings.signup_webhook_timeout_seconds,
            allow_private=settings.signup_webhook_allow_private,
        )

    async def close(self) -> None:
        await self._connections.aclose()

    async def perform(self, entries: Sequence[ClaimedRow]) -> dict[UUID, Outcome]:
        """Returns each subscriber's verdict. Disables a subscriber that answers 410, and commits that."""
        wanted = {UUID(entry.payload["subscriber_id"]) for entry in entries}
        rows = await self._pool.fetch(queries.FIND_SUBSCRIBERS, list(wanted), OLD_SECRET_SECONDS)
        subscribers = {row["id"]: row for row in rows}
        # The lease must outlast the batch: a row that still waits for a slot at the deadline is postponed.
        deadline = asyncio.get_running_loop().time() + self._timeout_seconds
        outcomes = await asyncio.gather(
            *(self._notify(entry, subscribers.get(UUID(entry.payload["subscriber_id"])), deadline) for entry in entries)
        )
        return {entry.id: outcome for entry, outcome in zip(entries, outcomes, strict=True)}

    async def _notify(self, entry: ClaimedRow, subscriber: Record | None, deadline: float) -> Outcome:
        if subscriber is None:
            return Obsolete("The subscriber was deleted")
        if subscriber["disabled_at"]:
            return Obsolete("The subscriber is disabled")
        breaker = self._breakers.setdefault(subscriber["id"], Breaker(f"webhook-{subscriber['id']}", _POLICY))
        async with self._slots.setdefault(subscriber["id"], asyncio.Semaphore(_MAX_CONCURRENT)):
            if asyncio.get_running_loop().time() >= deadline:
                return Postponed("The subscriber is slow: earlier calls took up all the time", 1.0)
            if not breaker.allowance(1):
                # Jitter, so that its rows do not all become due at once.
                delay = equal_jitter(1, base_seconds=2 * max(1.0, breaker.seconds_to_probe()), cap_seconds=120.0)
                return Postponed(f"The subscriber is unavailable. Last fault: {breaker.last_fault}", delay)
            try:
                outcome, fault = await self._post(entry, subscriber)
            except BaseException:
                breaker.unused()
                raise
            if fault:
                breaker.faulted(fault)
            else:
                breaker.succeeded()
            if isinstance(outcome, Obsolete):
                await self._pool.execute(queries.DISABLE_SUBSCRIBER_IF_ACTIVE, subscriber["id"], outcome.reason)
            return outcome

    async def _post(self, entry: ClaimedRow, subscriber: Record) -> tuple[Outcome, str | None]:
        """Returns the outcome, and the fault for the breaker if there is one."""
        try:
            headers, body = signed(entry, subscriber, self._ring, now=datetime.now(UTC))
            async with asyncio.timeout(self._timeout_seconds):
                status = await self._send(subscriber["url"], headers, body)
        except UnknownSigningKeyError as error:
            return TryLater(str(error)), None
        except TimeoutError:
            fault = f"No answer within {self._timeout_seconds:g} s"
        except PrivateAddressError as error:
            fault = str(error)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            fault = f"The call failed: {describe(error)}"
        except (httpcore.UnsupportedProtocol, ValueError) as error:
            fault = f"The request cannot be sent: {describe(error)}"
        else:
            return verdict(status), None if status < 500 else f"Answered {status}"  # noqa: PLR2004 - server errors
        return TryLater(fault), fault

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        read = 0
        async with self._connections.stream("POST", url, headers=list(headers.items()), content=body) as response:
            async for part in response.aiter_stream():
                read += len(part)
                if read > _MAX_ANSWER_BYTES:
                    break
            return response.status


def signed(
    entry: ClaimedRow, subscriber: Mapping[str, Any] | Record, ring: TokenRing, *, now: datetime
) -> tuple[dict[str, str], bytes]:
    """Headers and body of one event. Both secrets sign for a day after a rotation, so that no event is missed.

    Raises:
        UnknownSigningKeyError: the ring no longer has the key that the secret is derived from.
    """
    body = dumps({"type": entry.payload["event"], "timestamp": entry.created_at, "data": {"id": str(entry.user_id)}})
    version = subscriber["secret_version"]
    secrets = [derive_secret(ring, subscriber["id"], version, subscriber["key_id"])]
    if subscriber["previous_key_id"]:
        secrets.append(derive_secret(ring, subscriber["id"], version - 1, subscriber["previous_key_id"]))
    signatures = [Webhook(secret).sign(str(entry.id), now, body.decode()) for secret in secrets]
    headers = {
        "content-type": "application/json",
        "user-agent": "Counterfoil",
        "webhook-id": str(entry.id),
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
    if entry.traceparent:
        headers["traceparent"] = entry.traceparent
    return headers, body


def verdict(status: int) -> Outcome:
    """What an answer means. Redirects are not followed: they could lead anywhere."""
    if status in _SUCCESS:
        return Done({"status": status})
    if status == _GONE:
        return Obsolete("The subscriber answered 410 Gone")
    return TryLater(f"The subscriber answered {status}")
