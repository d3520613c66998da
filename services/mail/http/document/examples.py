"""Examples for the mail service's calls, one story: see `shared.http.document.story`."""

from typing import Any

from shared.http.document import operators
from shared.http.document.story import (
    ACCEPTED_AT,
    CORRELATION_ID,
    CURSOR,
    EMAIL,
    FINGERPRINT,
    INVOICE,
    LATER,
    MAIL,
    MESSAGE_ID,
    NAME,
    ROW,
    SENT,
    SENT_AT,
    SENT_ENTRY,
    USER,
)
from shared.http.document.teaching import Named
from shared.webhooks import document as webhooks

from .bounce_examples import BOUNCES

_LINK = "https://signup.example.com/verify/AZ8DOppndVqzTTtagKYeyXqPp0Zb4k1v"
_SUBJECT = "Please confirm your e-mail address"
_EXPIRES_AT = "2026-06-29T09:20:00.121000Z"
_CHANGE_CURSOR = "AAAAAAAAEjSfAzOapHO_g5PHKlcYJH0="
# One word in base64: a file that has `Invoice` in it.
_FILE = {"filename": "invoice-17.txt", "content_type": "text/plain", "content": "SW52b2ljZQ=="}

_VARIABLES = {"name": NAME, "link": _LINK, "expires_in_hours": 72}
_BY_TEMPLATE = {
    "request_id": ROW,
    "to": {"email": EMAIL, "name": NAME},
    "template": "verification",
    "variables": _VARIABLES,
    "locale": "en",
    "metadata": {"user_id": USER},
}
_BY_TEXT = {
    "request_id": "invoice-2026-17",
    "to": {"email": EMAIL},
    "subject": "Your invoice 17",
    "text": "Dear Ada,\n\nyour invoice is attached.\n",
    "attachments": [_FILE],
    "tags": ["invoice"],
    "expires_at": "2099-12-31T23:59:59Z",
    "on_uncertain": "hold",
}

_QUEUED: dict[str, Any] = {
    "id": MAIL,
    "request_id": ROW,
    "client": "signup",
    "state": "queued",
    "to": {"email": EMAIL, "name": NAME},
    "from": "accounts@example.com",
    "subject": _SUBJECT,
    "template": "verification",
    "template_version": "6b1f0c2a94de",
    "locale": "en",
    "tags": [],
    "metadata": {"user_id": USER},
    "on_uncertain": "resend",
    "lane": "live",
    "attempts": 0,
    "gateway": None,
    "message_id": MESSAGE_ID,
    "accepted_at": ACCEPTED_AT,
    "send_at": None,
    "sent_at": None,
    "next_attempt_at": ACCEPTED_AT,
    "expires_at": _EXPIRES_AT,
    "failure": None,
    "restored": False,
    "fingerprint": FINGERPRINT,
}
_SENT = _QUEUED | {"state": "sent", "attempts": 1, "gateway": "primary", "sent_at": SENT_AT, "next_attempt_at": None}
_CONTENT: dict[str, Any] = {
    "subject": _SUBJECT,
    "text": f"Hello {NAME},\n\nOpen this link and press the button there:\n\n{_LINK}\n",
    "html": "<!doctype html>\n<p>…</p>\n",
    "headers": {},
    "sender_email": "accounts@example.com",
    "sender_name": None,
    "reply_to_email": None,
    "reply_to_name": None,
    "attachments": [],
}
_REJECTED = {
    "request_id": "invoice-2026-18",
    "outcome": "rejected",
    "problem": {
        "type": "/problems/invalid-request",
        "title": "The request is not valid",
        "status": 422,
        "detail": "/to/email: Must be an address",
        "request_id": CORRELATION_ID,
        "errors": [{"pointer": "/to/email", "detail": "Must be an address"}],
    },
}

_MAILS: dict[str, Any] = {
    "MailRequest": Named({"From a template": _BY_TEMPLATE, "With its own text": _BY_TEXT}),
    "send_mail 202": _QUEUED,
    "Batch": {"mails": [_BY_TEMPLATE, _BY_TEXT]},
    "BatchResults": {"results": [{"request_id": ROW, "outcome": "accepted", "mail": _QUEUED}, _REJECTED]},
    "Lookup": {"request_ids": [ROW, "invoice-2026-16"]},
    "LookupResult": {"found": {ROW: _SENT}, "missing": ["invoice-2026-16"]},
    "Mail": _SENT,
    "get_mail 200": Named({"The mail": _SENT, "With include=content": _SENT | {"content": _CONTENT}}),
    "MailPage": {"items": [_SENT], "next_cursor": CURSOR},
    "get_mail_history 200": {"items": [SENT], "next_cursor": None},
    "AttemptPage": {
        "items": [
            {
                "n": 1,
                "gateway": "primary",
                "phase": "ended",
                "outcome": "accepted",
                "counted": True,
                "claimed_at": "2026-06-26T09:20:00.130000Z",
                "transmitting_at": "2026-06-26T09:20:00.142000Z",
                "ended_at": SENT_AT,
                "reason": None,
                "code": 250,
                "enhanced_code": "2.0.0",
                "reply": "2.0.0 Ok: queued as 4bCdE6f7G8",
                "idempotency_header": None,
                "ask_until": None,
            }
        ],
        "next_cursor": None,
    },
    "get_attachment 200": "Invoice",
    "Changes": {
        "items": [
            {
                "id": SENT_ENTRY,
                "at": SENT_AT,
                "kind": "mail.sent",
                "mail_id": MAIL,
                "request_id": ROW,
                "client": "signup",
                "state": "sent",
                "message_id": MESSAGE_ID,
                "sent_at": SENT_AT,
                "fingerprint": FINGERPRINT,
                "template": "verification",
                "correlation_id": CORRELATION_ID,
                "detail": SENT["detail"],
            }
        ],
        "next_cursor": _CHANGE_CURSOR,
        "more": False,
    },
}

_OPERATIONS: dict[str, Any] = {
    "Restore": {
        "mails": [
            {
                "request_id": ROW,
                "fingerprint": FINGERPRINT,
                "to": {"email": EMAIL, "name": NAME},
                "template": "verification",
                "sent_at": SENT_AT,
                "message_id": MESSAGE_ID,
            }
        ]
    },
    "Restored": {"restored": [ROW], "known": []},
    "GivenUp": {"state": "failed", "gateway": "primary", "enhanced_code": "5.7.1", "after": "2026-06-26T00:00:00Z"},
    "Retried": {"retried": 42},
    "cancel_mail 200": _QUEUED | {"state": "canceled", "next_attempt_at": None},
    "retry_mail 200": _QUEUED | {"attempts": 1, "gateway": "primary", "next_attempt_at": LATER},
    "Resolve": {"as": "sent", "reason": "The gateway's log has it: queued as 4bCdE6f7G8"},
    "Erasure": Named({"By address": {"email": EMAIL}, "By metadata": {"metadata": {"user_id": USER}}}),
    "Erased": {"erased": 3},
    "GatewayList": {
        "items": [
            {
                "name": "primary",
                "breaker": "closed",
                "last_fault": None,
                "faults_in_a_row": 0,
                "connections": 8,
                "connections_allowed": 8,
                "connections_open": 2,
                "in_flight": 1,
                "deduplicates": False,
            }
        ],
        "next_cursor": None,
        "seen_at": LATER,
        "age_seconds": 2,
    },
    "Flow": operators.flow(
        [
            {"name": name, "waiting": 0, "in_flight": 0, "oldest_seconds": None, "dead": None, "breaker": None,
             "last_fault": None}
            for name in ("live", "bulk", "uncertain")
        ],
        {"bounced": 12, "canceled": 3, "expired": 0, "failed": 4, "suppressed": 7, "uncertain": 0},
        {"mail.accepted": 0.5, "mail.sent": 0.5},
    ),
}  # fmt: skip

_TEMPLATE = {
    "name": "verification",
    "description": "Asks a person who has signed up to confirm that the address is theirs",
    "version": "6b1f0c2a94de",
    "locales": ["de", "en"],
    "default_locale": "en",
    "variables": {
        "name": {"required": True, "kind": "text", "description": "The person's name", "example": NAME},
        "link": {"required": True, "kind": "url", "description": "Where the address is confirmed", "example": _LINK},
    },
    "required_variables": ["link", "name"],
    "optional_variables": [],
    "on_uncertain": "resend",
    "on_uncertain_reason": "A second copy does no harm, since both carry the same link",
}
_TEMPLATES: dict[str, Any] = {
    "TemplateList": {"items": [_TEMPLATE], "next_cursor": None},
    "TemplateDescription": _TEMPLATE,
    "Preview": {"variables": _VARIABLES, "locale": "en"},
    "RenderedTemplate": {
        "subject": _SUBJECT,
        "text": _CONTENT["text"],
        "html": _CONTENT["html"],
        "locale": "en",
        "version": "6b1f0c2a94de",
    },
}  # fmt: skip

EXAMPLES: dict[str, Any] = {
    **operators.examples(
        "mail",
        description="Sends one mail per request ID, for ever, and reports what was sent.",
        history=SENT,
        check=operators.failed_check(
            "sent_without_acceptance",
            "Mails in state sent or bounced that no gateway accepted and no operator resolved (of the newest 20,000).",
            (INVOICE, "is sent without an accepted attempt"),
        ),
    ),
    **webhooks.examples(
        ["mail.sent", "mail.bounced"],
        {"id": SENT_ENTRY, "subject_id": MAIL, "created_at": SENT_AT, "delivered_at": "2026-06-26T09:20:00.290000Z"},
    ),
    **_MAILS,
    **_OPERATIONS,
    **_TEMPLATES,
    **BOUNCES,
}
