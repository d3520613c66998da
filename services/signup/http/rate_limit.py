"""Limits anonymous writes by client address and by its network. Requests with a key are not limited (API.md).

The counters are in Valkey. While Valkey is down, every request is allowed without waiting for it.
"""

import asyncio
import math
import time

from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError
from starlette.requests import Request

from shared.contract.configuration import ConfigurationError
from shared.contract.network import client_of, network_of, read_address
from shared.contract.problems import Problem
from shared.observability.foreign_errors import describe
from shared.observability.logs import get_logger
from shared.worker.circuit_breaker import Breaker, BreakerPolicy, BreakerState

from ..errors import RateLimited
from .client_address import ClientAddress

_log = get_logger(__name__)

# A call usually takes less than 1 ms. A shorter timeout would mistake a busy event loop for a Valkey outage, so a flood
# would switch off the limit against it. The breaker keeps an outage cheap: only one request per probe waits.
_TIMEOUT_SECONDS = 0.2
_POLICY = BreakerPolicy(faults_to_open=3, first_probe_seconds=1.0, max_probe_seconds=10.0)


class RateLimit:
    """Sliding windows, shared by all processes: one for each client address, and one for each network."""

    def __init__(self, per_address: str, per_network: str, redis_url: str, client_address: ClientAddress) -> None:
        """Opens no connection yet. `per_network` may be `off`. Raises ConfigurationError when a rate cannot be read."""
        self._limits = [("address", _rate("SIGNUP_LIMIT_PER_IP", per_address), _client)]
        if not is_off(per_network):
            self._limits.append(("network", _rate("SIGNUP_LIMIT_PER_NETWORK", per_network), _network))
        self._connections = ConnectionPool.from_url(redis_url)
        self._timeout_seconds = _TIMEOUT_SECONDS
        storage = RedisStorage(
            f"async+{redis_url}",
            implementation="redispy",
            key_prefix="counterfoil:limit",
            connection_pool=self._connections,  # type: ignore[arg-type] # documented, but missing from the annotation
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._client_address = client_address
        self.breaker = Breaker("limits", _POLICY)

    async def close(self) -> None:
        await self._connections.aclose()

    async def check(self, request: Request) -> None:
        """Count this request.

        Raises:
            RateLimited: too many requests came from the same address, or from the same network.
        """
        if not self.breaker.allowance(1):
            return
        client = self._client_address(request)
        try:
            async with asyncio.timeout(self._timeout_seconds):
                refusal = await self._refusal(client)
        except (RedisError, OSError) as error:
            was_closed = self.breaker.state is BreakerState.CLOSED
            self.breaker.faulted(describe(error))
            if was_closed and self.breaker.state is not BreakerState.CLOSED:
                _log.warning("limits_open_without_valkey", error=describe(error))
            return
        except BaseException:
            self.breaker.unused()
            raise
        self.breaker.succeeded()
        if refusal is not None:
            raise refusal

    async def _refusal(self, client: str) -> Problem | None:
        for policy, rate, bucket in self._limits:
            if not await self._limiter.hit(rate, policy, bucket(client)):
                left = await self._limiter.get_window_stats(rate, policy, bucket(client))
                return _refuse(policy, rate, max(1, math.ceil(left.reset_time - time.time())))
        return None


def is_off(setting: str) -> bool:
    return setting.strip().lower() == "off"


def _rate(name: str, setting: str) -> RateLimitItem:
    try:
        return parse(setting)
    except ValueError:
        raise ConfigurationError(f"{name} must be a rate like `60/minute`, or `off`") from None


def _refuse(policy: str, rate: RateLimitItem, seconds: int) -> Problem:
    """Header fields follow draft-ietf-httpapi-ratelimit-headers."""
    return RateLimited(
        f"Too many requests came from this {policy}. Try again in {seconds} s.",
        headers={
            "Retry-After": str(seconds),
            "RateLimit-Policy": f'"{policy}";q={rate.amount};w={rate.get_expiry()}',
            "RateLimit": f'"{policy}";r=0;t={seconds}',
        },
    )


def _client(client: str) -> str:
    try:
        return client_of(read_address(client))
    except ValueError:
        return client


def _network(client: str) -> str:
    try:
        return network_of(read_address(client))
    except ValueError:
        return client
