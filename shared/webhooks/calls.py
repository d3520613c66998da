"""The call of a subscriber: one signed POST, and what its answer means.

Subscribers that did not answer lately are called less often, and none takes more than its share of the calls: so they
do not hold up the others.
"""

import asyncio
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import httpcore

from ..contract.ids import UUID
from ..contract.key_ring import KeyRing, UnknownSigningKeyError
from ..db.pool import Record
from ..observability.foreign_errors import describe
from ..worker.circuit_breaker import Breaker, BreakerPolicy, BreakerState
from .message import Message, signed
from .public_network import PrivateAddressError, PublicNetwork
from .verdicts import Accepted, Failed, Gone, NotCalled, Verdict, verdict_on

_SERVER_ERROR = 500
# Only the status of an answer matters; reading a little of its body keeps the connection usable.
_MAX_ANSWER_BYTES = 64 * 1024
# Concurrent calls per subscriber.
_MAX_CONCURRENT = 8
_POLICY = BreakerPolicy(faults_to_open=3, first_probe_seconds=1.0, max_probe_seconds=60.0)


class SubscriberCalls:
    """Breakers and connections of one process. Opens no connection before the first call."""

    def __init__(
        self, ring: KeyRing, *, timeout_seconds: float, allow_private: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ring = ring
        self._timeout_seconds = timeout_seconds
        self._allow_private = allow_private
        self._clock = clock
        self._breakers: dict[UUID, Breaker] = {}
        self._slots: dict[UUID, asyncio.Semaphore] = {}

    @cached_property
    def _connections(self) -> httpcore.AsyncConnectionPool:
        return httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(),
            max_connections=100,
            keepalive_expiry=30,
            network_backend=PublicNetwork(allow_private=self._allow_private),
        )

    async def close(self) -> None:
        if "_connections" in self.__dict__:
            await self._connections.aclose()

    def room(self, subscriber_id: UUID, wanted: int) -> int:
        """How many calls make sense now: all, one to try whether the subscriber is back, or none."""
        if self._breaker(subscriber_id).state is BreakerState.CLOSED:
            return wanted
        return 0 if self.seconds_to_probe(subscriber_id) > 0 else 1

    def seconds_to_probe(self, subscriber_id: UUID) -> float:
        """Until its breaker lets a call pass; 0 when it does now."""
        return self._breaker(subscriber_id).seconds_to_probe()

    def deadline(self) -> float:
        """For a batch that begins now: no call of it starts later, so it ends within two timeouts."""
        return asyncio.get_running_loop().time() + self._timeout_seconds

    async def call(self, subscriber: Mapping[str, Any] | Record, message: Message, *, deadline: float) -> Verdict:
        """`subscriber` is a row of FIND_SUBSCRIBERS. Waits for one of its slots, but not past the deadline."""
        breaker = self._breaker(subscriber["id"])
        async with self._slots.setdefault(subscriber["id"], asyncio.Semaphore(_MAX_CONCURRENT)):
            if asyncio.get_running_loop().time() >= deadline:
                return NotCalled("The subscriber is slow: earlier calls took up all the time")
            if not breaker.allowance(1):
                error = f"The subscriber is unavailable. Last fault: {breaker.last_fault}"
                return NotCalled(error, breaker.seconds_to_probe())
            try:
                verdict, fault = await self._post(subscriber, message)
            except BaseException:
                breaker.unused()
                raise
            if fault:
                breaker.faulted(fault)
            else:
                breaker.succeeded()
            return verdict

    def _breaker(self, subscriber_id: UUID) -> Breaker:
        return self._breakers.setdefault(subscriber_id, Breaker(f"webhook-{subscriber_id}", _POLICY, clock=self._clock))

    async def _post(
        self, subscriber: Mapping[str, Any] | Record, message: Message
    ) -> tuple[Accepted | Gone | Failed, str | None]:
        """Returns the verdict, and the fault for the breaker if there is one."""
        try:
            headers, body = signed(message, subscriber, self._ring, now=datetime.now(UTC))
            async with asyncio.timeout(self._timeout_seconds):
                status = await self._send(subscriber["url"], headers, body)
        except UnknownSigningKeyError as error:
            return Failed(str(error)), None
        except TimeoutError:
            fault = f"No answer within {self._timeout_seconds:g} s"
        except PrivateAddressError as error:
            fault = str(error)
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException, OSError) as error:
            fault = f"The call failed: {describe(error)}"
        except (httpcore.UnsupportedProtocol, ValueError) as error:
            fault = f"The request cannot be sent: {describe(error)}"
        else:
            return verdict_on(status), None if status < _SERVER_ERROR else f"Answered {status}"
        return Failed(fault), fault

    async def _send(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        read = 0
        async with self._connections.stream("POST", url, headers=list(headers.items()), content=body) as response:
            async for part in response.aiter_stream():
                read += len(part)
                if read > _MAX_ANSWER_BYTES:
                    break
            return response.status
