"""The mail service's own errors, each a problem with its status and slug."""

from collections.abc import Sequence

from shared.contract.problems import Problem, at


class UnknownTemplate(Problem):
    """There is no template of this name; GET /v1/templates lists those there are."""

    status, slug, title = 422, "unknown-template", "There is no such template"


class VariablesRejected(Problem):
    """The template cannot be rendered with these variables; `errors` names each that is missing, unknown or unfit."""

    status, slug, title = 422, "invalid-variables", "The template variables are not valid"


class RequestIdRequired(Problem):
    """Every mail needs a request ID, in `request_id` or in the Idempotency-Key header; it makes a retry safe."""

    status, slug, title = 400, "request-id-required", "A request ID is required"

    def __init__(self) -> None:
        super().__init__(
            "Send a request ID of yours in `request_id` or in the Idempotency-Key header; the same ID again is safe.",
            errors=[at("/request_id", "Required, here or in the Idempotency-Key header")],
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
    """This request ID has been used for a mail with other content. One ID is one mail, for ever; use a new ID."""

    status, slug, title = 422, "request-id-reused", "The request ID was used for another mail"

    def __init__(self, fields: Sequence[str]) -> None:
        super().__init__(
            "A mail with this request ID exists, and its content differs in: " + (", ".join(fields) or "the whole"),
            errors=[at(pointer, "Differs from the first request with this ID") for pointer in fields],
        )


class CursorLost(Problem):
    """The place where the reader stopped no longer exists: the mail ledger was restored to an earlier time, or the reader
    was away for so long that the history of then is no longer kept (HISTORY_MONTHS).
    Start again without `after`: reading a change twice does no harm, missing one does.
    """

    status, slug, title = 410, "cursor-lost", "This place in the feed no longer exists"


class WrongState(Problem):
    """The mail is in a state that does not allow this; the detail says which states do."""

    status, slug, title = 409, "wrong-state", "The mail's state does not allow this"

    def __init__(self, action: str, state: str, allowed: Sequence[str]) -> None:
        super().__init__(
            f"This mail is {state}; {action} is for mails that are {' or '.join(allowed)}.",
            state=state,
            allowed=list(allowed),
        )


class ContentGone(Problem):
    """The content of this mail was wiped, by age or because the person was erased; it cannot be sent again."""

    status, slug, title = 409, "content-gone", "The mail's content is no longer kept"


class StillSending(Problem):
    """The notice is about a mail whose sending is not on record yet, so it has not been taken in: bring it again."""

    status, slug, title = 409, "still-sending", "The mail is being sent at this moment"

    def __init__(self) -> None:
        super().__init__("What became of this mail is about to be recorded. Bring the notice again.",
                         headers={"Retry-After": "5"})  # fmt: skip
