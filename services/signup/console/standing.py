"""Where a person stands now, in one sentence. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.db.pool import Record

from .ledgers import Pair
from .views import ago

_OF_MAIL = {
    "queued": ("warn", "The mail with the link waits in the mail service's queue."),
    "sending": ("warn", "The mail with the link is being handed to a gateway now."),
    "deferred": ("warn", "The gateway put the mail with the link off; it is tried again."),
    "uncertain": ("bad", "It is not known whether the mail with the link arrived: an operator must decide."),
    "failed": ("bad", "The gateway refused the mail with the link, so this person cannot verify."),
    "bounced": ("bad", "The mail with the link came back, so this person cannot verify."),
    "expired": ("bad", "The mail with the link expired before a gateway took it."),
    "suppressed": ("bad", "The address is suppressed, so the mail with the link was not sent."),
    "canceled": ("warn", "The mail with the link was canceled."),
}
_OF_ROW = {
    "pending": ("warn", "The mail with the link is owed and waits in the outbox."),
    "leased": ("warn", "The mail with the link is being handed to the mail service now."),
    "dead": ("bad", "The mail service refused the mail with the link: an operator must decide."),
    "canceled": ("warn", "The mail with the link was canceled in the outbox."),
}


@dataclass(frozen=True)
class Standing:
    mood: str
    text: str


def standing_of(user: Mapping[str, Any] | Record, pairs: Sequence[Pair]) -> Standing:
    """`pairs` are the person's mails, newest first."""
    if user["status"] == "erased":
        return Standing("", "Erased: nothing personal is left here; history keeps what is not personal.")
    if user["status"] == "verified":
        return Standing("good", f"Verified {ago(user['verified_at'])}." if user["verified_at"] else "Verified.")
    link = next((pair for pair in pairs if pair.row["template"] == "verification"), None)
    if link is None:
        return Standing("bad", "Pending, and no mail with a link is on record.")
    return _of_link(link)


def _of_link(link: Pair) -> Standing:
    """Of a pending person, by the newest mail with a link."""
    if link.row["state"] in _OF_ROW:
        return Standing(*_OF_ROW[link.row["state"]])
    known = link.mail or link.outcome
    if known is None:
        return Standing("warn", "The mail with the link was handed over; what became of it is not known here yet.")
    if known["state"] == "sent":
        sent = ago(known["sent_at"])
        return Standing("good", f"Pending: the mail with the link was sent {sent}. It waits for a click.")
    return Standing(*_OF_MAIL[known["state"]])
