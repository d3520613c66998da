"""Where an answer of the mail service leads: which call takes the ID that it holds."""

from collections.abc import Mapping, Sequence

from shared.http.document.teaching import To


def _to_mail(place: str) -> tuple[To, ...]:
    mail = {"mail_id": place}
    return (
        To("get_mail", "The mail as it is now", mail),
        To("get_mail_attempts", "Every attempt to send it, with the gateway's replies", mail),
        To("get_mail_history", "What happened to it", mail),
        To("list_bounces", "Notices about it", mail),
    )


def _of_mail(place: str) -> tuple[To, ...]:
    mail = {"mail_id": place}
    return (
        *_to_mail(place),
        To("cancel_mail", "Cancel it, while it waits", mail),
        To("retry_mail", "Send it again after it failed", mail),
        To("resolve_mail", "Decide it, when it is uncertain", mail, {"as": "sent", "reason": "In the gateway's log"}),
    )


LINKS: Mapping[str, Sequence[To]] = {
    "Mail": _of_mail("$response.body#/id"),
    "MailPage": _of_mail("$response.body#/items/0/id"),
    "BatchResults": _of_mail("$response.body#/results/0/mail/id"),
    "LookupResult": (
        To("list_mails", "The mail with the first request ID", {"request_id": "$request.body#/request_ids/0"}),
    ),
    "Restored": (To("list_mails", "The first mail written back", {"request_id": "$response.body#/restored/0"}),),
    "Changes": (
        To("list_changes", "What happened since", {"after": "$response.body#/next_cursor"}),
        *_to_mail("$response.body#/items/0/mail_id"),
    ),
    "Ingested": _to_mail("$response.body#/mail_id"),
    "EventResults": _to_mail("$response.body#/results/0/mail_id"),
    "BouncePage": _to_mail("$response.body#/items/0/mail_id"),
    "Suppression": (
        To("delete_suppression", "Allow the address again", {"email": "$response.body#/email"}),
    ),
    "SuppressionPage": (
        *_to_mail("$response.body#/items/0/mail_id"),
        To("delete_suppression", "Allow the first address again", {"email": "$response.body#/items/0/email"}),
    ),
    "TemplateList": (
        To("get_template", "The first template", {"name": "$response.body#/items/0/name"}),
        To("preview_template_locales", "A page with each of its languages", {"name": "$response.body#/items/0/name"}),
    ),
    "TemplateDescription": (
        To("preview_template_locales", "A page with each of its languages", {"name": "$response.body#/name"}),
    ),
}  # fmt: skip
