"""Where an answer of signup leads: which call takes the ID that it holds."""

from collections.abc import Mapping, Sequence

from shared.http.document.teaching import To


def _of_user(place: str) -> tuple[To, ...]:
    user = {"user_id": place}
    return (
        To("get_user", "The user as it is now", user),
        To("get_user_timeline", "What happened to the user, over both services", user),
        To("list_outbox", "What the user is owed", user),
        To("delete_user", "Erase the user", user),
    )


def _of_import(place: str) -> tuple[To, ...]:
    own = {"import_id": place}
    return (
        To("get_import", "Its progress", own),
        To("list_import_rows", "The outcome of each row", own),
        To("pause_import", "Hold the remaining rows and mails", own),
        To("resume_import", "Go on after a pause", own),
        To("cancel_import", "Drop the remaining rows and mails", own),
    )


def _of_row(place: str) -> tuple[To, ...]:
    row = {"row_id": place}
    return (
        To("get_outbox_row", "The row as it is now", row),
        To("retry_outbox_row", "Make it due now", row),
        To("cancel_outbox_row", "Never perform it", row),
        To("list_history", "What happened to it", {"subject": place}),
    )


_RESEND = To(
    "resend_verification", "Mail another verification link", body={"email": "$response.body#/email"}
)  # fmt: skip

LINKS: Mapping[str, Sequence[To]] = {
    "User": (*_of_user("$response.body#/id"), _RESEND),
    "UserPage": _of_user("$response.body#/items/0/id"),
    "sign_up 202": (
        To("resend_verification", "Mail another verification link", body={"email": "$request.body#/email"}),
        To("list_users", "Find the user, with a key", {"email": "$request.body#/email"}),
    ),
    "resend_verification 202": (
        To("list_users", "Find the user, with a key", {"email": "$request.body#/email"}),
    ),
    "Import": _of_import("$response.body#/id"),
    "ImportPage": _of_import("$response.body#/items/0/id"),
    "ImportRowPage": _of_user("$response.body#/items/0/user_id"),
    "OutboxRow": _of_row("$response.body#/id"),
    "OutboxPage": _of_row("$response.body#/items/0/id"),
    "Timeline": (To("get_user", "The user as it is now", {"user_id": "$response.body#/user_id"}),),
    "Reconciliation": (
        To("get_reconciliation", "The run as it is now", {"run_id": "$response.body#/id"}),
        To("list_findings", "What it found", {"run_id": "$response.body#/id"}),
    ),
    "FindingPage": (To("get_reconciliation", "The run that found it", {"run_id": "$response.body#/items/0/run_id"}),),
}  # fmt: skip
