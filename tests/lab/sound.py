"""A small run in which every promise held, for tests that plant a violation in it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .asks import Ask
from .evidence import Attempt, Effect, Entry, Evidence, Mail, Outcome, Subscription, Tampering, User
from .gateway import Copy
from .receiver import Call

SIGNUP_SUBSCRIBER, MAIL_SUBSCRIBER = "subscriber-1", "subscriber-2"
_TEMPLATES = {"user.signed_up": "verification", "user.verified": "welcome"}


def sound() -> Evidence:
    """Ada signed up and verified, a service signed Bo up, and the second client sent a mail."""
    evidence = Evidence(
        users=[
            User("ada", "ada@lab.example", "verified", ("user.signed_up", "user.verified")),
            User("bo", "bo@lab.example", "pending", ("user.signed_up",)),
        ],
        subscriptions=[
            Subscription(SIGNUP_SUBSCRIBER, "signup", "operator", "signup", ("user.signed_up", "user.verified")),
            Subscription(MAIL_SUBSCRIBER, "mail", "billing", "mail", ("mail.sent",)),
        ],
        statistics={"signups": 2, "verifications": 1},
        reconciliation={"id": "run", "verdict": "balanced"},
        tampering=[Tampering("mail", "DELETE FROM history", refused=True)],
    )
    evidence.effects = [effect for user in evidence.users for kind in user.kinds for effect in _effects(user.id, kind)]
    evidence.mails = [
        _mail(effect.id, "signup", f"{effect.user_id}@lab.example")
        for effect in evidence.effects
        if effect.effect == "mail"
    ] + [_mail("mail-0", "billing", "mail-0@lab.example")]
    evidence.attempts = [Attempt(mail.id, 1, "ended", "accepted", counted=True) for mail in evidence.mails]
    evidence.copies = [Copy(mail.message_id, mail.to, "bytes", 0.0, answered=True) for mail in evidence.mails]
    evidence.outcomes = [
        Outcome(mail.request_id, mail.id, mail.state, mail.fingerprint, mail.message_id)
        for mail in evidence.mails
        if mail.client == "signup"
    ]
    evidence.entries = [entry for mail in evidence.mails for entry in _entries(mail)]
    evidence.changes = [
        {"id": entry.id, "mail_id": entry.mail_id, "state": entry.state or ""}
        for entry in evidence.entries
        if entry.client == "billing"
    ]
    evidence.calls = [*_signup_calls(evidence), *_mail_calls(evidence)]
    evidence.asks = [
        Ask("signup", "ada@lab.example", 1.0, 2.0),
        Ask("verify", "ada@lab.example", 3.0, 4.0),
        Ask("keyed", "keyed-0", 1.0, 2.0, ["bo"], members=["bo@lab.example"]),
        Ask("mail", "mail-0", 1.0, 2.0, ["m-mail-0"]),
    ]
    return evidence


def _effects(user_id: str, kind: str) -> Iterator[Effect]:
    row = f"{user_id}-{kind}"
    done: dict[str, Any] = {"state": "delivered", "attempts": 1, "settled": 1, "noted": 1}
    mail = f"{row}-mail"
    yield Effect(mail, "mail", user_id, _TEMPLATES[kind], mail_id=f"m-{mail}", fingerprint=f"f-{mail}", **done)
    for name in ("stats", "cache"):
        yield Effect(f"{row}-{name}", name, user_id, kind, **done)
    yield Effect(f"{row}-webhook", "webhook", user_id, kind, subscriber=SIGNUP_SUBSCRIBER, **done)


def _mail(request_id: str, client: str, to: str) -> Mail:
    return Mail(
        *(f"m-{request_id}", client, request_id, "sent", f"<{request_id}@lab>", f"f-{request_id}", to, "hold", 1),
        is_queued=False,
        history_state="sent",
    )


def _entries(mail: Mail) -> Iterator[Entry]:
    for kind, state in (("mail.accepted", "queued"), ("mail.sent", "sent")):
        yield Entry(f"{mail.id}-{kind}", mail.id, mail.client, kind, state)


def _signup_calls(evidence: Evidence) -> Iterator[Call]:
    for effect in sorted(evidence.effects, key=lambda each: each.id):
        if effect.effect == "webhook":
            yield Call("signup", effect.id, "body", effect.what, effect.user_id or "", "", 0.0, answered=True)


def _mail_calls(evidence: Evidence) -> Iterator[Call]:
    for entry in evidence.entries:
        if entry.client == "billing" and entry.kind == "mail.sent":
            yield Call("mail", entry.id, "body", entry.kind, entry.mail_id, "sent", 0.0, answered=True)


def changed(evidence: Evidence, what: str, row: int = 0, **fields: Any) -> None:
    """Change one row of the evidence."""
    rows = list(getattr(evidence, what))
    rows[row] = replace(rows[row], **fields)
    setattr(evidence, what, rows)


def without(evidence: Evidence, what: str, row: int = 0) -> None:
    rows = list(getattr(evidence, what))
    del rows[row]
    setattr(evidence, what, rows)


def doubled(evidence: Evidence, what: str, row: int = 0, **fields: Any) -> None:
    """Add the same row again, with other `fields`."""
    rows = list(getattr(evidence, what))
    setattr(evidence, what, [*rows, replace(rows[row], **fields)])
