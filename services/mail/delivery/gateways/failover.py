"""The gateways in order of preference, each behind its circuit breaker.

Each claim tries a mail at one gateway. After a fault the mail goes back to the queue, due at once and not counted, and
is claimed again; the caller names the gateways that just faulted, and those come last. So every try is an attempt on
record with its own lease. One rule keeps a mail whose outcome is unknown away from other gateways: an attempt that may
have left is `unknown` and ends there.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from shared.worker.circuit_breaker import Breaker, BreakerState

from ..smtp_outcomes import Outcome, Verdict, own_fault
from .protocol import BodySupplier, Envelope, Gateway

_TALLY_MINUTES = 5


class Route:
    """A gateway with its breaker, its connection slots and its counts of the last minutes."""

    def __init__(self, gateway: Gateway, breaker: Breaker | None = None) -> None:
        self.gateway = gateway
        self.breaker = breaker or Breaker(gateway.name)
        self.slots = asyncio.Semaphore(gateway.connections)
        self.in_flight = 0
        self._minutes: deque[tuple[int, list[int]]] = deque(maxlen=_TALLY_MINUTES)

    @property
    def name(self) -> str:
        return self.gateway.name

    @property
    def may_send(self) -> bool:
        """Whether the breaker is closed or a probe is due. Changes nothing."""
        state = self.breaker.state
        return state is BreakerState.CLOSED or (state is BreakerState.OPEN and self.breaker.seconds_to_probe() <= 0)

    def record(self, verdict: Verdict) -> None:
        """Report to the breaker, and count."""
        if verdict.outcome in {Outcome.GATEWAY_FAULT, Outcome.UNKNOWN} and verdict.blames_gateway:
            self.breaker.faulted(verdict.reason)
        elif verdict.blames_gateway:
            self.breaker.succeeded()
        else:
            self.breaker.unused()
        minute = int(time.monotonic() // 60)
        if not self._minutes or self._minutes[-1][0] != minute:
            self._minutes.append((minute, [0, 0]))
        self._minutes[-1][1][verdict.outcome is not Outcome.ACCEPTED] += 1

    def describe(self) -> dict[str, Any]:
        """For the heartbeat, and through it `GET /v1/gateways`."""
        oldest = int(time.monotonic() // 60) - _TALLY_MINUTES
        recent = [counts for minute, counts in self._minutes if minute > oldest]
        return {
            "name": self.name,
            "breaker": self.breaker.state,
            "last_fault": self.breaker.last_fault,
            "seconds_to_probe": round(self.breaker.seconds_to_probe(), 1),
            "connections": self.gateway.connections,
            "in_flight": self.in_flight,
            "sent": sum(sent for sent, _ in recent),
            "failed": sum(failed for _, failed in recent),
            "window_seconds": _TALLY_MINUTES * 60,
        }


class Gateways:
    """All gateways, in order of preference."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.routes = routes
        self.connections = sum(route.gateway.connections for route in routes)

    def allowance(self, wanted: int) -> int:
        """How many mails to claim now: all while any breaker is closed, one when a probe is due, or none."""
        if any(route.breaker.state is BreakerState.CLOSED for route in self.routes):
            return wanted
        return min(wanted, 1) if any(route.may_send for route in self.routes) else 0

    async def send(
        self,
        envelope: Envelope,
        body: BodySupplier,
        about_to_transmit: Callable[[str], Awaitable[bool]],
        last_resort: Collection[str] = (),
    ) -> tuple[str | None, Verdict]:
        """Try the first usable gateway, those of `last_resort` after the others. Returns its name and verdict.

        Raises:
            ValueError: from `body`; nothing has been sent to a gateway.
        """
        for route in sorted(self.routes, key=lambda route: route.name in last_resort):
            if not route.may_send:
                continue
            async with route.slots:
                # Check again: during the wait for a slot, other tasks may have found the gateway down.
                if not route.breaker.allowance(1):
                    continue
                return route.name, await self._send_through(route, envelope, body, about_to_transmit)
        return None, own_fault("no gateway is available")

    async def _send_through(
        self, route: Route, envelope: Envelope, body: BodySupplier, about_to_transmit: Callable[[str], Awaitable[bool]]
    ) -> Verdict:
        async def with_name() -> bool:
            return await about_to_transmit(route.name)

        route.in_flight += 1
        try:
            verdict = await route.gateway.send(envelope, body, with_name)
        except BaseException:
            route.breaker.unused()
            raise
        finally:
            route.in_flight -= 1
        route.record(verdict)
        return verdict

    async def close_idle(self) -> None:
        for route in self.routes:
            await route.gateway.close_idle()

    async def close(self) -> None:
        for route in self.routes:
            await route.gateway.close()
