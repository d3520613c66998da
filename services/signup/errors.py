"""The problems that only the signup service answers with.

Problem
├─ ChallengeRequired 403
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


class ChallengeRequired(Problem):
    """The request needs the solution of a challenge from GET /v1/challenges, which is good once and for ten minutes.

    Nothing was changed.
    """

    status, slug, title = 403, "challenge-required", "The solution of a challenge is needed"

    def __init__(self) -> None:
        # The same whether it is absent, used, wrong or too old, and for every address.
        super().__init__(
            "GET /v1/challenges, solve the challenge (ALTCHA: find the number), and send the solution as `challenge`. "
            "Each is good once and for ten minutes. Requests with an API key need none."
        )


class TokenUnknown(Problem):
    """This service did not issue the verification link, or its user was erased."""

    status, slug, title = 404, "token-unknown", "The verification link is unknown"


class AlreadyVerified(Problem):
    """The address belongs to a user who is already verified. Nothing was changed."""

    status, slug, title = 409, "already-verified", "The address is already verified"


class ImportTakenOver(Problem):
    """Another request with the same idempotency key is uploading this import, or it was canceled during the upload."""

    status, slug, title = 409, "import-taken-over", "Another request is uploading this import"


class WrongState(Problem):
    """The resource is in a state that does not allow this action. The detail lists the states that do."""

    status, slug, title = 409, "wrong-state", "The state does not allow this action"

    def __init__(self, what: str, action: str, state: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"{what} in state `{state}` cannot be {action}. Allowed states: {', '.join(allowed)}.",
            state=state,
            allowed=list(allowed),
        )


class TokenExpired(Problem):
    """The verification link has expired. POST /v1/verifications/resend mails another one."""

    status, slug, title = 410, "token-expired", "The verification link has expired"


class UserErased(Problem):
    """The user was erased. What remains is not personal data."""

    status, slug, title = 410, "user-erased", "The user has been erased"


class RequestIdReused(Problem):
    """The idempotency key was used before with another body. `errors` names what differs. Nothing was changed."""

    status, slug, title = 422, "request-id-reused", "The idempotency key was used for another request"


class RateLimited(Problem):
    """Too many requests came from this address. `Retry-After` says when to try again. Nothing was changed."""

    status, slug, title = 429, "rate-limited", "Too many requests"
