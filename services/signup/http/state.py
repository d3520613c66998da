"""What `app` put together, as the routes find it: `app.state`, with types."""

from dataclasses import dataclass

from redis.asyncio import Redis
from starlette.requests import Request

from shared.database import Database
from shared.partitions import Kept
from shared.wakeup import Pinger

from ..accounts.desk import Desk
from ..accounts.terms import Terms
from ..accounts.token import TokenRing
from .limits import ClientAddress, RateLimit


@dataclass(frozen=True)
class State:
    database: Database
    pinger: Pinger
    ring: TokenRing
    terms: Terms
    desk: Desk
    redis: Redis
    client_address: ClientAddress
    limit: RateLimit | None
    webhooks_may_be_private: bool
    reconcile_lag_seconds: float
    kept: tuple[Kept, ...]


def state_of(request: Request) -> State:
    state: State = request.app.state.signup
    return state
