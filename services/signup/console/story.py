"""Entries of history and attempts, told for a timeline: a title, a mood, and the gateway's words apart. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

_TITLES = {
    "user.signed_up": "Signed up",
    "user.signed_up_again": "Signed up again",
    "user.mail_withheld": "No mail: the last one was too short a time ago, or there were too many",
    "user.imported": "Imported",
    "user.verified": "Verified the address",
    "user.erased": "Erased",
    "outbox.delivered": "Handed over",
    "outbox.dead": "Given up in the outbox",
    "outbox.retried": "Made due again in the outbox",
    "outbox.canceled": "Canceled in the outbox",
    "mail.accepted": "The mail service accepted the mail",
    "mail.suppressed": "Not sent: the address is suppressed",
    "mail.sent": "Sent",
    "mail.deferred": "Put off",
    "mail.failed": "Failed",
    "mail.uncertain": "Uncertain whether it arrived",
    "mail.requeued": "Queued again",
    "mail.retried": "Tried again by an operator",
    "mail.resolved": "Decided by an operator",
    "mail.canceled": "Canceled",
    "mail.bounced": "Came back",
    "mail.complained": "Complained about",
    "mail.erased": "Erased in the mail service",
    "mail.restored": "Written back",
    "attempt.accepted": "The gateway took it",
    "attempt.refused": "The gateway refused it",
    "attempt.try_later": "The gateway put it off",
    "attempt.unknown": "The gateway gave no answer after the dot",
    "attempt.gateway_fault": "The gateway was out of order",
}
_MOODS = {
    "good": "user.verified mail.sent attempt.accepted",
    "warn": "mail.deferred mail.uncertain mail.suppressed mail.requeued attempt.try_later attempt.unknown",
    "bad": "outbox.dead mail.failed mail.bounced mail.complained attempt.refused attempt.gateway_fault",
}
_MOOD_OF = {kind: mood for mood, kinds in _MOODS.items() for kind in kinds.split()}
# Shown in their own places, or of no use to a reader.
_LEFT_OUT = frozenset((
    "actor", "reply", "reason", "code", "enhanced_code", "state", "n", "phase", "outcome", "counted", "claimed_at",
    "transmitting_at", "ended_at", "attempt",
))  # fmt: skip


@dataclass(frozen=True)
class Told:
    at: datetime
    service: str
    kind: str
    title: str
    mood: str
    subject: str
    actor: str
    # Code and text, as the gateway said them.
    words: str
    reason: str
    detail: Mapping[str, Any]
    correlation_id: str


def told(item: Mapping[str, Any]) -> Told:
    """An item of `audit.timeline`."""
    detail: Mapping[str, Any] = item["detail"]
    return Told(
        at=item["at"],
        service=item["service"],
        kind=item["kind"],
        title=_title(item["kind"], detail),
        mood=_MOOD_OF.get(item["kind"], ""),
        subject=item["subject"],
        actor=detail.get("actor") or "",
        words=words_of(detail),
        reason=detail.get("reason") or "",
        detail={name: value for name, value in detail.items() if name not in _LEFT_OUT | _in_title(item["kind"])},
        correlation_id=item["correlation_id"] or "",
    )


def title_of(kind: str) -> str:
    """What an operator calls a kind of entry."""
    return _TITLES.get(kind) or kind.replace(".", ": ").replace("_", " ")


def _in_title(kind: str) -> frozenset[str]:
    return frozenset(("effect", "template", "event")) if kind in {"outbox.owed", "outbox.delivered"} else frozenset()


def _title(kind: str, detail: Mapping[str, Any]) -> str:
    if kind == "outbox.owed":
        what = detail.get("template") or detail.get("event") or ""
        return f"Owed: {detail['effect'].replace('_', ' ')} {what}".rstrip()
    if kind == "outbox.delivered":
        return f"Handed over: {str(detail.get('effect', '')).replace('_', ' ')}"
    if kind == "mail.resolved":
        return f"Decided by an operator: {detail.get('as', '')}"
    return title_of(kind)


def words_of(values: Mapping[str, Any]) -> str:
    """The reply of a gateway with its codes, as far as they are kept. The codes often begin the reply already."""
    reply = values.get("reply") or ""
    codes = " ".join(str(values[name]) for name in ("code", "enhanced_code") if values.get(name))
    return reply if reply.startswith(codes) else f"{codes} {reply}".strip()
