"""The gateways in order of preference, each behind its circuit breaker.

Each claim tries a mail at one gateway. After a fault the mail goes back to the queue, due at once and not counted, and
is claimed again; the caller names the gateways that just faulted, and those come last. So every try is an attempt on
record with its own lease. One rule keeps a mail whose outcome is unknown away from other gateways: an attempt that may
have left is `unknown` and ends there. A gateway that deduplicates is asked again, and only that one (ADR 0033).

A gateway that turns a connection away while others are open says something about their number: fewer are used, and the
mail waits for one of those (ADR 0023). Only when there is no other connection is it a fault.
"""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, TypeAlias

from shared.worker.circuit_breaker import Breaker, BreakerState

from ..deduplication import Deduplication, KeyUse
from ..smtp_outcomes import Outcome, Verdict, own_fault
from .connection_limit import ConnectionLimit
from .protocol import BodySupplier, Envelope, Gateway

_TALLY_MINUTES = 5

# Gateway, recipient and verdict: the verdict as it takes effect. It must not raise.
Judge: TypeAlias = Callable[[str, str, Verdict], Awaitable[Verdict]]


async def believe(_gateway: str, _recipient: str, verdict: Verdict) -> Verdict:
    """The `Judge` that takes every verdict as it is."""
    return verdict


async def nowhere(_gateway: str) -> bool:
    """For a worker that has no others beside it."""
    return False


def _ignore(_offered: bool) -> None:  # noqa: FBT001 - a callback's only argument
    pass


class Route:
    """A gateway with its breaker, its limit of connections and its counts of the last minutes.

    `connected_elsewhere` says whether another worker has connections to the gateway of this name.
    """

    def __init__(
        self,
        gateway: Gateway,
        breaker: Breaker | None = None,
        connected_elsewhere: Callable[[str], Awaitable[bool]] = nowhere,
    ) -> None:
        self.gateway = gateway
        self.breaker = breaker or Breaker(gateway.name)
        self.limit = ConnectionLimit(gateway.name, gateway.connections)
        self._connected_elsewhere = connected_elsewhere
        self.in_flight = 0
        self._minutes: deque[tuple[int, list[int]]] = deque(maxlen=_TALLY_MINUTES)

    @property
    def name(self) -> str:
        return self.gateway.name

    @property
    def may_send(self) -> bool:
        """Whether the breaker is closed or a probe is due, and a connection can be had. Changes nothing."""
        state = self.breaker.state
        is_up = state is BreakerState.CLOSED or (state is BreakerState.OPEN and self.breaker.seconds_to_probe() <= 0)
        return is_up and self.limit.lets_through

    def answers(self, question: KeyUse) -> bool:
        """Whether this gateway can be asked. After a change of its settings it may know the key no more."""
        deduplication = self.gateway.deduplication
        return self.name == question.gateway and deduplication is not None and deduplication.wrote(question.line)

    async def has_other_connections(self, reason: str) -> bool:
        """After a connection was turned away: whether others are open. Then no more than those are used."""
        open_now = await self.gateway.settled_connections()
        if not open_now:
            if not await self._connected_elsewhere(self.name):
                return False
            self.breaker.succeeded()  # the gateway is well: another worker has all of its connections
        self.limit.turned_away(open_now, reason)
        return True

    def record(self, verdict: Verdict) -> None:
        """Report to the breaker and the limit, and count."""
        self.limit.proved(self.gateway.connections_open)
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
            "faults_in_a_row": self.breaker.faults_in_a_row,
            "connections": self.gateway.connections,
            "connections_allowed": self.limit.allowed,
            "connections_open": self.gateway.connections_open,
            "in_flight": self.in_flight,
            "sent": sum(sent for sent, _ in recent),
            "failed": sum(failed for _, failed in recent),
            "window_seconds": _TALLY_MINUTES * 60,
            "deduplicates": self.gateway.deduplication is not None,
        }


class Gateways:
    """All gateways, in order of preference."""

    def __init__(self, routes: Sequence[Route], judge: Judge = believe) -> None:
        self.routes = routes
        self._judge = judge
        given = [route.gateway.deduplication for route in routes]
        self.idempotency_headers = frozenset(each.header.lower() for each in given if each is not None)

    @property
    def connections(self) -> int:
        """How many are used at most now; at least one for each gateway."""
        return sum(max(1, route.limit.allowed) for route in self.routes)

    def deduplication_of(self, gateway: str) -> Deduplication | None:
        return next((route.gateway.deduplication for route in self.routes if route.name == gateway), None)

    def allowance(self, wanted: int) -> int:
        """How many mails to claim now: all while any gateway can take them, one when a probe is due, or none."""
        if any(route.breaker.state is BreakerState.CLOSED and route.limit.allowed for route in self.routes):
            return wanted
        return min(wanted, 1) if any(route.may_send for route in self.routes) else 0

    async def send(
        self,
        envelope: Envelope,
        body: BodySupplier,
        about_to_transmit: Callable[[str], Awaitable[bool]],
        last_resort: Collection[str] = (),
        on_offer: Callable[[bool], None] = _ignore,
        question: KeyUse | None = None,
    ) -> tuple[str | None, Verdict]:
        """Try the first usable gateway, those of `last_resort` after the others. Returns its name and verdict.

        `on_offer` is told when a gateway gets the mail, and when it turned the connection away instead. With a
        `question`, only the gateway that can answer it is tried.

        Raises:
            ValueError: from `body`; nothing has been sent to a gateway.
        """
        routes = [route for route in self.routes if question is None or route.answers(question)]
        for route in sorted(routes, key=lambda route: route.name in last_resort):
            while route.may_send and await route.limit.acquire():
                try:
                    # Check again: during the wait for a turn, other tasks may have found the gateway down.
                    if not route.breaker.allowance(1):
                        break
                    on_offer(True)
                    verdict = await self._send_through(route, envelope, body, about_to_transmit)
                finally:
                    route.limit.release()
                if verdict is not None:
                    return route.name, verdict
                on_offer(False)
        return None, own_fault("no gateway is available", offered=False)

    async def _send_through(
        self, route: Route, envelope: Envelope, body: BodySupplier, about_to_transmit: Callable[[str], Awaitable[bool]]
    ) -> Verdict | None:
        """None: there is no verdict, because another connection has to take the mail."""

        async def with_name() -> bool:
            return await about_to_transmit(route.name)

        route.in_flight += 1
        try:
            verdict = await route.gateway.send(envelope, body, with_name)
            # Before the breaker hears of it: a gateway that refuses everyone is at fault.
            verdict = await self._judge(route.name, envelope.recipient, verdict)
            if verdict.turned_away and await route.has_other_connections(verdict.reason):
                route.breaker.unused()
                return None
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
