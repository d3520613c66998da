"""The webhooks of the mail service: when each event comes, and its body."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel

from shared.contract.ids import UUID
from shared.http.document.story import MAIL, ROW, SENT_AT
from shared.http.document.teaching import Event

from ..schemas import State


class MailEventData(BaseModel):
    """Which mail the event is about. It holds no address and no text: read GET /v1/mails/{id}."""

    id: UUID
    """The ID of the mail."""
    request_id: str
    """The mail's request ID."""
    state: State
    """The state that the mail had after the event."""
    code: int | None = None
    """The SMTP reply code. Left out when there is none."""
    enhanced_code: str | None = None
    """The enhanced status code (RFC 3463). Left out when there is none."""


class MailEvent(BaseModel):
    """The body of a webhook of the mail service."""

    type: Literal[
        "mail.sent",
        "mail.delivered",
        "mail.deferred",
        "mail.failed",
        "mail.bounced",
        "mail.complained",
        "mail.uncertain",
        "mail.suppressed",
        "mail.expired",
    ]
    """The name of the event."""
    timestamp: datetime
    """When it happened."""
    data: MailEventData
    """Which mail it is about."""


def _event(when: str, state: str, **codes: Any) -> Event:
    data = {"id": MAIL, "request_id": ROW, "state": state, **codes}
    return Event(when, MailEvent, {"timestamp": SENT_AT, "data": data})


EVENTS = {
    "mail.sent": _event("A gateway said 250, or an uncertain mail was resolved as sent", "sent", code=250),
    "mail.delivered": _event("The recipient's system reported that it has the mail", "sent"),
    "mail.deferred": _event("The mail is tried again", "deferred", code=450, enhanced_code="4.2.1"),
    "mail.failed": _event("The mail was refused for good", "failed", code=550, enhanced_code="5.1.1"),
    "mail.bounced": _event("The mail came back after it was sent", "bounced", enhanced_code="5.1.1"),
    "mail.complained": _event("The recipient called the mail spam", "sent"),
    "mail.uncertain": _event("It is unknown whether the mail was sent", "uncertain"),
    "mail.suppressed": _event("The address of the mail must not be mailed", "suppressed"),
    "mail.expired": _event("The mail could not be tried before it expired", "expired"),
}
