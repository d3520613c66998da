"""Every problem of its own that the signup service answers with.

Problem
├─ TokenUnknown      404
├─ AlreadyVerified   409
├─ ImportTakenOver   409
├─ WrongState        409
├─ TokenExpired      410
├─ UserErased        410
├─ RequestIdReused   422
└─ RateLimited       429
"""

from collections.abc import Sequence

from shared.contract.problems import Problem


class TokenUnknown(Problem):
    """The verification link is not one that was sent from here, or the person it was sent to is gone."""

    status, slug, title = 404, "token-unknown", "The verification link is not known"


class AlreadyVerified(Problem):
    """The address belongs to a person who is signed up and verified already. Nothing was changed."""

    status, slug, title = 409, "already-verified", "The address is verified already"


class ImportTakenOver(Problem):
    """Another request with the same idempotency key is sending this import now, or it was canceled while it came in."""

    status, slug, title = 409, "import-taken-over", "Another request is sending this import"


class WrongState(Problem):
    """The resource is in a state that does not allow this; the detail says which states do."""

    status, slug, title = 409, "wrong-state", "The state does not allow this"

    def __init__(self, what: str, action: str, state: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"{what} that is {state} cannot be {action}; it can be while it is {' or '.join(allowed)}.",
            state=state,
            allowed=list(allowed),
        )


class TokenExpired(Problem):
    """The verification link is too old. Ask for another: POST /v1/verifications/resend."""

    status, slug, title = 410, "token-expired", "The verification link has expired"


class UserErased(Problem):
    """The person asked to be forgotten. What is left is not personal."""

    status, slug, title = 410, "user-erased", "The user has been erased"


class RequestIdReused(Problem):
    """The idempotency key was used before with another body. `errors` names what differs; nothing was changed."""

    status, slug, title = 422, "request-id-reused", "The idempotency key was used for another request"


class RateLimited(Problem):
    """There were too many requests from this address. `Retry-After` says when to try again; nothing was changed."""

    status, slug, title = 429, "rate-limited", "Too many requests"


class ConfigurationError(Exception):
    """The process cannot start like this; the message says which setting, and what it needs."""
