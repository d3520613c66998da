"""The loops that keep both books together, put together for the worker."""

from collections.abc import Sequence

from shared.breaker import Breaker
from shared.database import Pool
from shared.loops import Loop

from ..accounts.terms import Terms
from ..mail_service import MailService
from ..settings import Settings
from .follower import Follower
from .heal import Healer
from .reconcile import Reconciler, Schedule
from .walk import Walk

# How far signup's book may lie behind the mail service's: what went out in this time, it could ask for again.
_FOLLOW_SECONDS = 0.5
_LOOK_SECONDS = 1.0
_SCHEDULE_SECONDS = 60.0


def bookkeepers(
    settings: Settings, pool: Pool, mail_service: MailService, terms: Terms
) -> Sequence[tuple[Loop, float]]:
    """Each loop with the seconds after which it looks again, woken or not."""
    lag_seconds = settings.reconcile_lag_seconds
    follower = Follower(pool, mail_service, Breaker("mail_feed"), lag_seconds=lag_seconds)
    reconciler = Reconciler(
        pool,
        follower,
        Walk(pool, mail_service, stuck_seconds=settings.reconcile_stuck_seconds),
        Healer(pool, mail_service, terms),
        lease_seconds=settings.signup_lease_seconds,
    )
    return (
        (follower, _FOLLOW_SECONDS),
        (reconciler, _LOOK_SECONDS),
        (Schedule(pool, lag_seconds=lag_seconds), _SCHEDULE_SECONDS),
    )
