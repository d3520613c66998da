"""Every error of this package, in one tree. A problem of the services (RFC 9457) becomes the class of its slug.

CounterfoilError
├─ BadRequestId            a request ID or a part of one that cannot be used; also a ValueError
├─ UnknownRequestId        the mail service was never asked for this mail
├─ NotSent                 the mail will not be sent, or only after an operator decides
├─ UnverifiedWebhook       a webhook that the service did not sign, or an old one
├─ TransportError          no verdict of the service
│  ├─ NotConnected         the request was never received
│  ├─ LostAnswer           the request may have been carried out
│  ├─ UnreadableAnswer     an answer, but none of the service's: from a proxy, perhaps
│  └─ DeadlineExceeded     the time was up; `__cause__` is what happened last
└─ ApiError                a problem: `slug`, `status`, `detail`, `errors`, `fields`, `request_id`
   ├─ BadRequest           400: MalformedRequest, RequestIdRequired, RequestIdMismatch
   ├─ Unauthorized         401: SignatureInvalid
   ├─ Forbidden            403: ChallengeRequired
   ├─ NotFound             404: TokenUnknown
   ├─ MethodNotAllowed     405
   ├─ Conflict             409: AlreadyVerified, ContentGone, ImportTakenOver, StillSending, SubscriberDisabled,
   │                            TooManyReplays, WebhooksOff, WrongState
   ├─ Gone                 410: AttachmentGone, CursorLost, TokenExpired, UserErased
   ├─ PayloadTooLarge      413
   ├─ UnsupportedMediaType 415
   ├─ InvalidRequest       422: RequestIdReused, UnknownTemplate, VariablesRejected
   ├─ RateLimited          429: SendLater
   └─ ServerFault          5xx: InternalError, SendAgain, Unavailable

A slug that this version does not know becomes the class of its status, so `except Conflict` also catches new ones.
"""

from typing import TYPE_CHECKING, ClassVar

from .problems import FieldError, Problem

if TYPE_CHECKING:
    from .records import MailRecord


class CounterfoilError(Exception):
    """Everything that this package raises."""


class BadRequestId(CounterfoilError, ValueError):
    """Nothing was sent."""


class UnknownRequestId(CounterfoilError):
    def __init__(self, request_id: str) -> None:
        super().__init__(request_id)
        self.request_id = request_id

    def __str__(self) -> str:
        return f"The mail service knows no mail with the request ID {self.request_id!r}"


class NotSent(CounterfoilError):
    """`mail` says why: its `state`, and `failure` with the gateway's words."""

    def __init__(self, mail: "MailRecord") -> None:
        super().__init__(mail)
        self.mail = mail

    def __str__(self) -> str:
        reason = f": {self.mail.failure.reason}" if self.mail.failure else ""
        return f"The mail {self.mail.request_id!r} is {self.mail.state}{reason}"


class UnverifiedWebhook(CounterfoilError):
    """Answer 400, and use nothing of the body."""


class TransportError(CounterfoilError):
    """The service gave no verdict."""


class NotConnected(TransportError):
    """The service did not receive the request."""


class LostAnswer(TransportError):
    """The request left and no whole answer came: it may have been carried out."""


class UnreadableAnswer(TransportError):
    """The answer is not one of the service's: the request may have been carried out, or never have reached it."""


class DeadlineExceeded(TransportError):
    """`may_have_arrived`: an attempt may have been carried out. With the same request ID it can be repeated."""

    def __init__(self, message: str, may_have_arrived: bool) -> None:  # noqa: FBT001 - pickling passes it so
        super().__init__(message, may_have_arrived)
        self.may_have_arrived = may_have_arrived

    def __str__(self) -> str:
        return str(self.args[0])


class ApiError(CounterfoilError):
    """The service's verdict, as it wrote it."""

    slug: ClassVar[str] = ""
    statuses: ClassVar[range] = range(0)  # what a class stands for when a slug is unknown

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.status} {self.problem.slug or self.problem.title}: {self.detail}"

    @property
    def status(self) -> int:
        return self.problem.status

    @property
    def detail(self) -> str:
        return self.problem.detail

    @property
    def request_id(self) -> str | None:
        """The service's correlation ID: what its operators search their logs for."""
        return self.problem.request_id

    @property
    def errors(self) -> tuple[FieldError, ...]:
        return self.problem.errors

    @property
    def fields(self) -> tuple[str, ...]:
        """What is wrong: JSON pointers like `/to/email`, or names of parameters and headers."""
        return tuple(error.place for error in self.problem.errors)

    @property
    def retry_after_seconds(self) -> float | None:
        return self.problem.retry_after_seconds


class BadRequest(ApiError):
    statuses = range(400, 401)


class Unauthorized(ApiError):
    slug, statuses = "unauthorized", range(401, 402)


class Forbidden(ApiError):
    slug, statuses = "forbidden", range(403, 404)


class NotFound(ApiError):
    slug, statuses = "not-found", range(404, 405)


class MethodNotAllowed(ApiError):
    slug, statuses = "method-not-allowed", range(405, 406)


class Conflict(ApiError):
    statuses = range(409, 410)


class Gone(ApiError):
    statuses = range(410, 411)


class PayloadTooLarge(ApiError):
    slug, statuses = "payload-too-large", range(413, 414)


class UnsupportedMediaType(ApiError):
    slug, statuses = "unsupported-media-type", range(415, 416)


class InvalidRequest(ApiError):
    slug, statuses = "invalid-request", range(422, 423)


class RateLimited(ApiError):
    slug, statuses = "rate-limited", range(429, 430)


class ServerFault(ApiError):
    statuses = range(500, 600)


class MalformedRequest(BadRequest):
    slug = "malformed-request"


class RequestIdRequired(BadRequest):
    slug = "request-id-required"


class RequestIdMismatch(BadRequest):
    slug = "request-id-mismatch"


class SignatureInvalid(Unauthorized):
    """Only for calls of a mail provider."""

    slug = "signature-invalid"


class ChallengeRequired(Forbidden):
    """Solve a challenge from `GET /v1/challenges` and give it as `challenge`."""

    slug = "challenge-required"


class TokenUnknown(NotFound):
    slug = "token-unknown"


class AlreadyVerified(Conflict):
    slug = "already-verified"


class ContentGone(Conflict):
    slug = "content-gone"


class ImportTakenOver(Conflict):
    slug = "import-taken-over"


class StillSending(Conflict):
    slug = "still-sending"


class SubscriberDisabled(Conflict):
    slug = "subscriber-disabled"


class TooManyReplays(Conflict):
    slug = "too-many-replays"


class WebhooksOff(Conflict):
    slug = "webhooks-off"


class WrongState(Conflict):
    slug = "wrong-state"


class AttachmentGone(Gone):
    slug = "attachment-gone"


class CursorLost(Gone):
    """Start again without a cursor: reading a change twice is harmless, missing one is not."""

    slug = "cursor-lost"


class TokenExpired(Gone):
    slug = "token-expired"


class UserErased(Gone):
    slug = "user-erased"


class RequestIdReused(InvalidRequest):
    """`fields` says where this request differs from the first one with the same ID."""

    slug = "request-id-reused"


class UnknownTemplate(InvalidRequest):
    slug = "unknown-template"


class VariablesRejected(InvalidRequest):
    slug = "invalid-variables"


class SendLater(RateLimited):
    """Only for calls of a mail provider."""

    slug = "send-later"


class InternalError(ServerFault):
    slug = "internal-error"


class SendAgain(ServerFault):
    """Only for calls of a mail provider."""

    slug = "send-again"


class Unavailable(ServerFault):
    slug = "unavailable"


def api_error(problem: Problem) -> ApiError:
    """The problem as the class of its slug, or of its status, or an ApiError."""
    kinds = list(_kinds(ApiError))
    by_slug = [kind for kind in kinds if kind.slug and kind.slug == problem.slug]
    by_status = [kind for kind in kinds if "statuses" in vars(kind) and problem.status in kind.statuses]
    kind = next(iter((*by_slug, *by_status)), ApiError)
    return kind(problem)


def _kinds(root: type[ApiError]) -> list[type[ApiError]]:
    return [root, *(kind for child in root.__subclasses__() for kind in _kinds(child))]
