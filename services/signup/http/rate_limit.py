"""How often anybody without a key may write, by client address. Keyed callers never come here (API.md).

Counters live in Valkey and are worth no more than that: while it is away everybody is let in, and nobody waits for it.
"""

import asyncio
import math
import time
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from limits import RateLimitItem, parse
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from redis.asyncio import ConnectionPool
from redis.exceptions import RedisError
from starlette.requests import Request

from shared.contract.problems import Problem
from shared.observability.logs import get_logger
from shared.worker.circuit_breaker import Breaker, BreakerPolicy, BreakerState

from ..errors import ConfigurationError, RateLimited

_log = get_logger(__name__)

Network = IPv4Network | IPv6Network

# Usually it is less than a millisecond. Shorter than this, a busy moment of our own would be taken for Valkey's end,
# and a flood would switch off what is there against floods. The breaker keeps the price low: one request per probe.
_PATIENCE_SECONDS = 0.2
_POLICY = BreakerPolicy(faults_to_open=3, first_probe_seconds=1.0, max_probe_seconds=10.0)
# One subscriber of a network gets at least this much of IPv6 (RFC 6177), so this much is one caller.
_V6_PREFIX = 64


class RateLimit:
    """A sliding window per client address, shared by all processes."""

    def __init__(self, setting: str, redis_url: str, client_address: "ClientAddress") -> None:
        """Connects nowhere yet. Raises ConfigurationError when the setting cannot be read."""
        try:
            self._limit: RateLimitItem = parse(setting)
        except ValueError:
            raise ConfigurationError("SIGNUP_LIMIT_PER_IP must be like `60/minute`, or `off`") from None
        self._connections = ConnectionPool.from_url(redis_url)
        self._patience_seconds = _PATIENCE_SECONDS
        storage = RedisStorage(
            f"async+{redis_url}",
            implementation="redispy",
            key_prefix="counterfoil:limit",
            connection_pool=self._connections,  # type: ignore[arg-type] # documented, but its annotation forgot it
        )
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._client_address = client_address
        self.breaker = Breaker("limits", _POLICY)

    @classmethod
    def from_setting(cls, setting: str, redis_url: str, client_address: "ClientAddress") -> "RateLimit | None":
        """None when SIGNUP_LIMIT_PER_IP is `off`: then it costs nothing."""
        return None if setting.strip().lower() == "off" else cls(setting, redis_url, client_address)

    async def close(self) -> None:
        await self._connections.aclose()

    async def check(self, request: Request) -> None:
        """Count this request.

        Raises:
            RateLimited: there were too many from the same address.
        """
        if not self.breaker.allowance(1):
            return
        who = _bucket(self._client_address(request))
        try:
            async with asyncio.timeout(self._patience_seconds):
                allowed = await self._limiter.hit(self._limit, who)
                left = None if allowed else await self._limiter.get_window_stats(self._limit, who)
        except (RedisError, OSError) as error:
            was_closed = self.breaker.state is BreakerState.CLOSED
            self.breaker.faulted(str(error) or type(error).__name__)
            if was_closed and self.breaker.state is not BreakerState.CLOSED:
                _log.warning("limits_open_without_valkey", error=str(error) or type(error).__name__)
            return
        except BaseException:
            self.breaker.unused()
            raise
        self.breaker.succeeded()
        if left is not None:
            raise self._refusal(max(1, math.ceil(left.reset_time - time.time())))

    def _refusal(self, seconds: int) -> Problem:
        """Header fields as draft-ietf-httpapi-ratelimit-headers names them."""
        return RateLimited(
            f"There were too many requests from this address. Try again in {seconds} s.",
            headers={
                "Retry-After": str(seconds),
                "RateLimit-Policy": f'"address";q={self._limit.amount};w={self._limit.get_expiry()}',
                "RateLimit": f'"address";r=0;t={seconds}',
            },
        )


class ClientAddress:
    """The address a request came from: the peer's, or the one that a trusted proxy saw."""

    def __init__(self, trusted: "tuple[Network, ...]") -> None:
        self._trusted = trusted

    @classmethod
    def from_setting(cls, text: str) -> "ClientAddress":
        """Read SIGNUP_TRUSTED_PROXIES. Raises ConfigurationError when it is no list of networks."""
        try:
            return cls(tuple(ip_network(part.strip()) for part in text.split(",") if part.strip()))
        except ValueError as error:
            raise ConfigurationError(f"SIGNUP_TRUSTED_PROXIES must be a list of CIDRs: {error}") from None

    def __call__(self, request: Request) -> str:
        peer = request.client.host if request.client else "unknown"
        if not self._trusted or not self._is_trusted(peer):
            return peer
        # Each proxy adds whom it saw at the right; what stands left of the first stranger is that stranger's claim.
        seen = peer
        for hop in reversed(",".join(request.headers.getlist("x-forwarded-for")).split(",")):
            address = _address_of(hop.strip())
            if address is None:
                break
            seen = address
            if not self._is_trusted(address):
                break
        return seen

    def _is_trusted(self, text: str) -> bool:
        try:
            address = ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _address_of(hop: str) -> str | None:
    """The address in one entry, which some proxies write with a port."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ip_address(hop))
    except ValueError:
        return None


def _bucket(text: str) -> str:
    try:
        address = ip_address(text)
    except ValueError:
        return text
    if isinstance(address, IPv6Address) and not address.ipv4_mapped:
        return str(IPv6Network((address, _V6_PREFIX), strict=False).network_address)
    return str(address)
