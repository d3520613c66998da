"""Examples for signup's calls, one story: see `shared.http.document.story`."""

from typing import Any

from shared.http.document import operators
from shared.http.document.story import (
    CORRELATION_ID,
    CURSOR,
    EMAIL,
    FINDING,
    FINGERPRINT,
    IMPORT,
    LATER,
    MAIL,
    NAME,
    ROW,
    RUN,
    SENT_AT,
    SIGNED_UP,
    SIGNED_UP_AT,
    SIGNED_UP_ENTRY,
    USER,
    VERIFIED_AT,
)
from shared.http.document.teaching import Named
from shared.webhooks import document as webhooks

from ...imports.file_format import CSV_EXAMPLE, NDJSON_EXAMPLE

_PENDING = {
    "id": USER,
    "email": EMAIL,
    "name": NAME,
    "locale": "en",
    "status": "pending",
    "source": "web",
    "external_id": None,
    "metadata": {"plan": "gold"},
    "created_at": SIGNED_UP_AT,
    "verified_at": None,
}
_VERIFIED = _PENDING | {"status": "verified", "verified_at": VERIFIED_AT}

_SIGNUPS: dict[str, Any] = {
    "SignupRequest": Named({
        "The least": {"email": EMAIL, "name": NAME},
        "With details": {"email": EMAIL, "name": NAME, "locale": "en", "metadata": {"plan": "gold"}},
    }),
    "Accepted": {"status": "accepted"},
    "sign_up 200": _PENDING | {"source": "shop"},
    "sign_up 201": _PENDING | {"source": "shop"},
    "Challenge": {
        "algorithm": "SHA-256",
        "challenge": "3d1ab5bb0bd8ed1bf1f0c5cd3ed4b9a2c4c2de2a6f3f0de6f5a1a4bf3dfe1c77",
        "maxnumber": 50000,
        "salt": "b5ae0f7c1d2e3f405162?expires=1782466200",
        "signature": "a91c3f0b7be9a1d4c5f2e60d8b37a6c4e1f0a2b3c4d5e6f708192a3b4c5d6e7f",
    },
    "VerificationRequest": {"token": "AZ8DOppndVqzTTtagKYeyXqPp0Zb4k1vW2xY3zA4bC5dE6fG7hI8jK9lM0nO1pQ2"},
    "Verified": {"status": "verified"},
    "ResendRequest": {"email": EMAIL},
    "User": _VERIFIED,
    "UserPage": {"items": [_VERIFIED], "next_cursor": None},
    "StatisticsPage": {
        "items": [
            {"day": "2026-06-25", "signups": 412, "verifications": 389},
            {"day": "2026-06-26", "signups": 437, "verifications": 401},
        ],
        "next_cursor": None,
    },
}  # fmt: skip

_RUNNING = {
    "id": IMPORT,
    "source": "acme-crm",
    "state": "running",
    "dry_run": False,
    "mails_per_minute": 600,
    "rows": 2,
    "outcomes": {"created": 1, "already_exists": 0, "duplicate": 0, "invalid": 0},
    "mails_owed": 1,
    "mails_left": 1,
    "failure": None,
    "created_at": "2026-06-26T10:20:00.000000Z",
    "finished_at": None,
}
_DONE = _RUNNING | {
    "state": "done",
    "outcomes": {"created": 1, "already_exists": 1, "duplicate": 0, "invalid": 0},
    "mails_left": 0,
    "finished_at": "2026-06-26T10:20:04.000000Z",
}
_IMPORTS: dict[str, Any] = {
    "start_import application/x-ndjson": NDJSON_EXAMPLE,
    "start_import application/ndjson": NDJSON_EXAMPLE,
    "start_import application/jsonl": NDJSON_EXAMPLE,
    "start_import text/csv": CSV_EXAMPLE,
    "Import": _RUNNING,
    "get_import 200": _DONE,
    "pause_import 200": _RUNNING | {"state": "paused"},
    "cancel_import 200": _DONE | {"state": "canceled"},
    "ImportPage": {"items": [_DONE], "next_cursor": None},
    "ImportRowPage": {
        "items": [
            {
                "line": 1,
                "external_id": "42",
                "email": EMAIL,
                "outcome": "already_exists",
                "reason": "email: a user already has this address; the user was not changed",
                "user_id": USER,
            }
        ],
        "next_cursor": CURSOR,
    },
}  # fmt: skip

_ROW = {
    "id": ROW,
    "effect": "mail",
    "user_id": USER,
    "state": "delivered",
    "attempts": 1,
    "last_error": None,
    "due_at": None,
    "created_at": SIGNED_UP_AT,
    "expires_at": None,
    "dead_at": None,
    "settled_at": "2026-06-26T09:20:00.127000Z",
    "outcome": "delivered",
    "result": {"mail_id": MAIL, "state": "queued", "fingerprint": FINGERPRINT},
    "correlation_id": CORRELATION_ID,
}
_DUE = _ROW | {
    "state": "pending",
    "last_error": "The mail service answered 422 unknown-template",
    "due_at": LATER,
    "expires_at": "2026-07-03T11:20:00.000000Z",
    "settled_at": None,
    "outcome": None,
    "result": None,
}
_CANCELED = _DUE | {"state": "canceled", "due_at": None, "settled_at": LATER, "outcome": "canceled"}

_COUNTS = dict.fromkeys(("missing", "lost_records", "unexpected", "different", "stuck", "unserved_users"), 0)
_FOUND = {"request_id": ROW, "mail_id": None, "user_id": USER, "reason": "sent"}
_RUN: dict[str, Any] = {
    "id": RUN,
    "state": "done",
    "verdict": "out_of_balance",
    "reason": None,
    "window": {"from": "2026-06-01T00:00:00Z", "to": "2026-06-26T11:19:00Z"},
    "kept_from": None,
    "heal": True,
    "compared": 1438,
    **_COUNTS,
    "lost_records": 1,
    "known": 0,
    "healed": _COUNTS | {"lost_records": 1},
    "examples": {kind: [] for kind in _COUNTS} | {"lost_records": [_FOUND]},
    "error": None,
    "started_at": LATER,
    "finished_at": "2026-06-26T11:20:01.700000Z",
}
_ASKED = _RUN | {
    "state": "running",
    "verdict": "incomplete",
    "compared": 0,
    "lost_records": 0,
    "healed": _COUNTS,
    "examples": {kind: [] for kind in _COUNTS},
    "finished_at": None,
}
_OPERATORS: dict[str, Any] = {
    "Timeline": {
        "user_id": USER,
        "complete": True,
        "unavailable": [],
        "kept_from": None,
        "items": [
            {
                "at": SIGNED_UP_AT,
                "service": "signup",
                "kind": "user.signed_up",
                "subject": USER,
                "detail": {},
                "correlation_id": CORRELATION_ID,
            },
            {
                "at": SENT_AT,
                "service": "mail",
                "kind": "mail.sent",
                "subject": MAIL,
                "detail": {"gateway": "primary", "code": 250},
                "correlation_id": CORRELATION_ID,
            },
        ],
    },
    "OutboxRow": _ROW,
    "retry_outbox_row 200": _DUE,
    "cancel_outbox_row 200": _CANCELED,
    "OutboxPage": {"items": [_ROW], "next_cursor": CURSOR},
    "Redrive": {"state": "dead", "effect": "mail", "error_like": "unknown-template"},
    "Redriven": {"retried": 17},
    "RunRequest": {"from": "2026-06-01T00:00:00Z", "heal": True},
    "Reconciliation": _RUN,
    "run_reconciliation 202": _ASKED,
    "FindingPage": {
        "items": [
            {**_FOUND, "id": FINDING, "run_id": RUN, "kind": "lost_records", "found_at": LATER, "healed_at": LATER}
        ],
        "next_cursor": None,
    },
    "Flow": operators.flow(
        [
            {"name": name, "waiting": 0, "in_flight": 0, "oldest_seconds": None, "dead": 0, "breaker": breaker,
             "last_fault": None}
            for name, breaker in (("mail", "closed"), ("stats", None), ("webhook", None))
        ],
        {},
        {"user.signed_up": 0.5, "user.verified": 0.5},
    ),
}  # fmt: skip

EXAMPLES: dict[str, Any] = {
    **operators.examples(
        "signup",
        description="Signs people up, verifies their addresses, and performs every effect that is owed to them.",
        history=SIGNED_UP,
        check=operators.failed_check(
            "pending_without_mail",
            "Pending users to whom no verification mail was ever owed: they can never verify.",
            (USER, "pending since 2026-06-26 09:20:00+00"),
        ),
    ),
    **webhooks.examples(
        ["user.signed_up", "user.verified"],
        {"id": SIGNED_UP_ENTRY, "subject_id": USER, "created_at": SIGNED_UP_AT, "delivered_at": SENT_AT},
    ),
    **_SIGNUPS,
    **_IMPORTS,
    **_OPERATORS,
}
