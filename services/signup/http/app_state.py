"""The collaborators that `app` builds, typed, as routes read them from `app.state`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request

from shared.db.pool import Database
from shared.worker.partitions import PartitionRetention
from shared.worker.wakeups import Pinger

from ..accounts.challenges import ChallengePolicy
from ..accounts.effect_policy import EffectPolicy
from ..accounts.signup_batcher import SignupBatcher
from ..brand import Brand
from ..verification_token import TokenRing
from .client_address import ClientAddress
from .pages import Pages

if TYPE_CHECKING:
    from .rate_limit import RateLimit


@dataclass(frozen=True)
class AppState:
    database: Database
    pinger: Pinger
    ring: TokenRing
    policy: EffectPolicy
    batcher: SignupBatcher
    brand: Brand
    pages: Pages
    redis_url: str
    client_address: ClientAddress
    limit: "RateLimit | None"
    challenge: ChallengePolicy
    reconcile_lag_seconds: float
    kept: tuple[PartitionRetention, ...]


def state_of(request: Request) -> AppState:
    state: AppState = request.app.state.signup
    return state
