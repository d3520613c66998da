"""A token becomes a verified address, and a welcome mail owed, in one commit; and another mail for who lost theirs."""

import enum

from shared.contract.correlation import current
from shared.db.pool import Pool, Record

from ..errors import TokenExpired, TokenUnknown
from . import queries
from .effect_policy import EffectPolicy
from .verification_token import TokenRing

_ACTOR = "anonymous"
# Losing a race once answers the question: the winner's commit is seen the next time.
_LOOKS = 3


class Verification(enum.StrEnum):
    VERIFIED = "verified"
    ALREADY_VERIFIED = "already_verified"


async def verify(pool: Pool, ring: TokenRing, token: str, policy: EffectPolicy) -> Verification:
    """Committed when this returns `VERIFIED`: the user, all that is owed, the history entry. Once per user.

    Raises:
        TokenUnknown: not a token of ours, or its user is gone.
        TokenExpired: it is too old, and the user is not verified.
    """
    outbox_id = ring.verify(token)
    if outbox_id is None:
        raise TokenUnknown("This is not a verification link that was sent from here.")
    here = current()
    for _ in range(_LOOKS):
        row = await pool.fetchrow(
            queries.VERIFY_IF_PENDING,
            outbox_id,
            policy.give_up_seconds,
            _ACTOR,
            here.request_id if here else None,
            here.traceparent if here else None,
            *policy.owed,
        )
        outcome = decide(row)
        if outcome is not None:
            return outcome
    raise TokenUnknown("This verification link leads nowhere any more.")


def decide(row: Record | dict[str, object] | None) -> Verification | None:
    """What a look at the token's row says; None when someone else changed the user meanwhile: look again.

    Raises:
        TokenUnknown: there is no such row, or its user is erased.
        TokenExpired: as it says.
    """
    if row is None or row["status"] == "erased":
        raise TokenUnknown("This verification link leads nowhere any more.")
    if row["verified"]:
        return Verification.VERIFIED
    if row["status"] == "verified":
        return Verification.ALREADY_VERIFIED
    if row["expired"]:
        raise TokenExpired("This verification link has expired. Ask for another one.")
    return None


async def resend(pool: Pool, email_key: str, policy: EffectPolicy) -> bool:
    """Owe a pending user another verification mail, unless one was owed just now. Committed when this returns.

    Whether one is owed is nothing that an anonymous caller may learn.
    """
    here = current()
    owed: bool = await pool.fetchval(
        queries.RESEND_IF_PENDING_AND_COOL,
        policy.cooldown_seconds,
        email_key,
        policy.link,
        policy.give_up_seconds,
        _ACTOR,
        here.request_id if here else None,
        here.traceparent if here else None,
    )
    return owed
