"""The mail service's own errors, each a problem with a status and a slug."""

from collections.abc import Sequence

from shared.contract.problems import Problem, at


class UnknownTemplate(Problem):
    """No template has this name. GET /v1/templates lists all templates."""

    status, slug, title = 422, "unknown-template", "There is no such template"


class VariablesRejected(Problem):
    """The template cannot be rendered with these variables. `errors` names each missing, unknown or invalid one."""

    status, slug, title = 422, "invalid-variables", "The template variables are not valid"


class RequestIdRequired(Problem):
    """Every mail needs a request ID, in `request_id` or in the Idempotency-Key header. It makes a retry safe."""

    status, slug, title = 400, "request-id-required", "A request ID is required"

    def __init__(self) -> None:
        super().__init__(
            "Send a request ID of your choice in `request_id` or in the Idempotency-Key header. Repeating it is safe.",
            errors=[at("/request_id", "Is required here or in the Idempotency-Key header")],
        )


class RequestIdMismatch(Problem):
    """The body and the Idempotency-Key header carry different request IDs. Send one, or the same in both."""

    status, slug, title = 400, "request-id-mismatch", "Body and header carry different request IDs"

    def __init__(self) -> None:
        super().__init__(
            "`request_id` and the Idempotency-Key header must agree.",
            errors=[
                at("/request_id", "Differs from the Idempotency-Key header"),
                {"header": "Idempotency-Key", "detail": "Differs from `request_id`"},
            ],
        )


class RequestIdReused(Problem):
    """This request ID was used for a mail with other content. One ID names one mail, for ever. Use a new ID."""

    status, slug, title = 422, "request-id-reused", "The request ID was used for another mail"

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(
            "A mail with this request ID exists, and its content differs in: " + (", ".join(fields) or "the whole"),
            errors=[at(pointer, "Differs from the first request with this ID") for pointer in fields],
        )


class CursorLost(Problem):
    """The feed no longer has the change that this cursor names. The mail ledger was restored to an earlier time, or
    retention dropped that part of history (HISTORY_MONTHS).
    Start again without `after`: reading a change twice is harmless, missing one is not.
    """

    status, slug, title = 410, "cursor-lost", "The cursor's change is no longer in the feed"


class WrongState(Problem):
    """The mail's state does not allow this action. The detail names the states that do."""

    status, slug, title = 409, "wrong-state", "The mail's state does not allow this"

    def __init__(self, action: str, state: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"This mail is {state}; {action} is allowed for mails that are {' or '.join(allowed)}.",
            state=state,
            allowed=list(allowed),
        )


class ContentGone(Problem):
    """The mail's content was wiped, by retention or because the person was erased. The mail cannot be sent again."""

    status, slug, title = 409, "content-gone", "The mail's content is no longer kept"


class AttachmentGone(Problem):
    """The attachment was wiped with the mail's content, by retention or because the person was erased."""

    status, slug, title = 410, "attachment-gone", "The attachment is no longer kept"


class StillSending(Problem):
    """The notice is about a mail that is still being sent. It was not stored: post it again later."""

    status, slug, title = 409, "still-sending", "The mail is still being sent"

    def __init__(self) -> None:
        super().__init__("The result of the current attempt is not recorded yet. Post the notice again.",
                         headers={"Retry-After": "5"})  # fmt: skip


class SignatureInvalid(Problem):
    """The call is not verified as one of the provider: its signature or secret is missing or wrong, or it is too old.
    The detail says what is wrong; compare MAIL_PROVIDER_EVENTS with the provider's settings.
    """

    status, slug, title = 401, "signature-invalid", "The call is not verified as the provider's"

    def __init__(self, detail: str, *, basic: bool = False) -> None:
        scheme = "Basic" if basic else "Signature"
        super().__init__(detail, headers={"WWW-Authenticate": f'{scheme} realm="provider events"'})


class SendAgain(Problem):
    """Not all of the call could be applied now. Send the same call again: what was applied is not applied twice."""

    status, slug, title = 503, "send-again", "Send the same call again"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})


class SendLater(Problem):
    """Not all of the call could be applied now. Send the same call again: what was applied is not applied twice.
    It is `send-again` for the provider that repeats a call after 429 alone.
    """

    status, slug, title = 429, "send-later", "Send the same call again later"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})
