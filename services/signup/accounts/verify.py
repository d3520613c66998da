"""Verifies an address by token and owes the welcome mail in one commit; owes another verification mail on request."""

import enum

from shared.contract.correlation import current
from shared.db.pool import Pool, Record

from ..errors import ChallengeRequired, TokenExpired, TokenUnknown
from ..verification_token import TokenRing
from . import queries
from .effect_policy import EffectPolicy
from .used_challenges import NOT_NEEDED, Proof

_ACTOR = "anonymous"
# After a lost race the next attempt sees the winner's commit.
_ATTEMPTS = 3


class Verification(enum.StrEnum):
    VERIFIED = "verified"
    ALREADY_VERIFIED = "already_verified"


async def verify(pool: Pool, ring: TokenRing, token: str, policy: EffectPolicy) -> Verification:
    """On `VERIFIED` the user, the effects owed and the history entry are committed. Happens once per user.

    The user gets the details that were said for this link, unless a key or an import wrote the user (ADR 0020).

    Raises:
        TokenUnknown: this service did not sign the token, or its user is erased.
        TokenExpired: the token is too old and the user is not verified.
    """
    outbox_id = ring.verify(token)
    if outbox_id is None:
        raise TokenUnknown("This service did not issue this verification link.")
    correlation = current()
    for _ in range(_ATTEMPTS):
        row = await pool.fetchrow(
            queries.VERIFY_IF_PENDING,
            outbox_id,
            policy.give_up_seconds,
            _ACTOR,
            correlation.request_id if correlation else None,
            correlation.traceparent if correlation else None,
            *policy.owed,
            policy.pinned,
        )
        outcome = decide(row)
        if outcome is not None:
            return outcome
    raise TokenUnknown("This verification link no longer belongs to a user.")


def decide(row: Record | dict[str, object] | None) -> Verification | None:
    """The outcome that the token's row means; None when a concurrent request changed the user: try again.

    Raises:
        TokenUnknown: there is no such row, or its user is erased.
        TokenExpired: the token is too old and the user is not verified.
    """
    if row is None or row["status"] == "erased":
        raise TokenUnknown("This verification link no longer belongs to a user.")
    if row["verified"]:
        return Verification.VERIFIED
    if row["status"] == "verified":
        return Verification.ALREADY_VERIFIED
    if row["expired"]:
        raise TokenExpired("This verification link has expired. Request another one: POST /v1/verifications/resend.")
    return None


async def resend(pool: Pool, email_key: str, policy: EffectPolicy, proof: Proof = NOT_NEEDED) -> bool:
    """Owe a pending user another verification mail, unless strangers caused too many. Committed on return.

    The result must not reach an anonymous caller: it reveals whether the address is signed up.

    Raises:
        ChallengeRequired: the proof is missing, or its challenge was used before; nothing was changed.
    """
    correlation = current()
    owed: bool | None = await pool.fetchval(
        queries.RESEND_IF_PENDING_AND_STRANGER_MAY_CAUSE_MAIL,
        policy.cooldown_seconds,
        email_key,
        policy.pinned,
        policy.give_up_seconds,
        _ACTOR,
        correlation.request_id if correlation else None,
        correlation.traceparent if correlation else None,
        policy.mails_per_address_per_day,
        policy.mails_per_hour,
        proof.to_use(),
    )
    if owed is None:
        raise ChallengeRequired
    return owed


async def return_url_of(pool: Pool, ring: TokenRing, token: str) -> str | None:
    """Where the signup of a link wants its person led back to."""
    outbox_id = ring.verify(token)
    url: str | None = None if outbox_id is None else await pool.fetchval(queries.FIND_RETURN_URL, outbox_id)
    return url
