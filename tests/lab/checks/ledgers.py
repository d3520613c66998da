"""P6: both ledgers agree, and so do the feed and the gateway's record."""

from collections import Counter
from collections.abc import Iterator

from ..evidence import Evidence
from .violation import Violation

_SIGNUP = "signup"


def balance(evidence: Evidence) -> list[Violation]:
    """P6: every mail asked for is on both sides, or reconciliation names it."""
    return [
        *_both_sides(evidence),
        *_outcomes_agree(evidence),
        *_clients_have_their_mails(evidence),
        *_copies_are_known(evidence),
        *_feed_has_no_gap(evidence),
        *_reconciliation(evidence),
    ]


def _both_sides(evidence: Evidence) -> Iterator[Violation]:
    mails = {mail.request_id: mail for mail in evidence.mails if mail.client == _SIGNUP}
    asked = {effect.id: effect for effect in evidence.effects if effect.effect == "mail"}
    for row, effect in asked.items():
        if not effect.settled:
            continue
        mail = mails.get(row)
        if mail is None:
            yield Violation(row, "signup settled it, and the mail ledger does not have it")
        elif effect.mail_id != mail.id or effect.fingerprint != mail.fingerprint:
            yield Violation(row, f"mail or fingerprint differ: {effect.mail_id}, {mail.id}")
    for request_id in mails.keys() - asked.keys():
        yield Violation(request_id, "the mail ledger has it, and signup never owed it")


def _outcomes_agree(evidence: Evidence) -> Iterator[Violation]:
    outcomes = {outcome.request_id: outcome for outcome in evidence.outcomes}
    for mail in evidence.mails:
        if mail.client != _SIGNUP:
            continue
        outcome = outcomes.get(mail.request_id)
        if outcome is None:
            yield Violation(mail.request_id, "signup's ledger does not know what became of it")
        elif (outcome.state, outcome.fingerprint, outcome.mail_id) != (mail.state, mail.fingerprint, mail.id):
            yield Violation(mail.request_id, f"signup's ledger says {outcome.state}, the mail ledger {mail.state}")


def _clients_have_their_mails(evidence: Evidence) -> Iterator[Violation]:
    known = {mail.request_id for mail in evidence.mails}
    for ask in evidence.asks:
        if ask.is_accepted and ask.kind in ("mail", "batch"):
            for request_id in {ask.key} if ask.kind == "mail" else set(ask.members):
                if request_id not in known:
                    yield Violation(request_id, "was accepted, and is not in the ledger")


def _copies_are_known(evidence: Evidence) -> Iterator[Violation]:
    known = {mail.message_id: mail for mail in evidence.mails}
    for copy in evidence.copies:
        mail = known.get(copy.message_id)
        if mail is None:
            yield Violation(copy.message_id, "the gateway has it, and the ledger does not")
        elif mail.to != copy.recipient:
            yield Violation(copy.message_id, f"went to {copy.recipient}, and is for {mail.to}")


def _feed_has_no_gap(evidence: Evidence) -> Iterator[Violation]:
    """The second client followed the feed through all faults; what it saw is the history of its mails, in order."""
    seen = [change["id"] for change in evidence.changes]
    for entry, count in Counter(seen).items():
        if count > 1:
            yield Violation(entry, f"the feed showed it {count} times")
    clients = {ask.key for ask in evidence.asks if ask.kind == "mail"}
    if not clients and not seen:
        return
    followers = {entry.client for entry in evidence.entries} - {_SIGNUP}
    expected = [entry.id for entry in evidence.entries if entry.client in followers and entry.state]
    for entry in set(expected) - set(seen):
        yield Violation(entry, "the feed did not show it")
    for entry in set(seen) - set(expected):
        yield Violation(entry, "the feed showed it, and history does not have it")
    if set(seen) == set(expected) and len(seen) == len(expected) and seen != expected:
        yield Violation("feed", "showed its entries in another order than the ledger has them")


def _reconciliation(evidence: Evidence) -> Iterator[Violation]:
    run = evidence.reconciliation
    if run.get("verdict") != "balanced":
        counts = {name: run.get(name) for name in ("missing", "lost_records", "unexpected", "different", "stuck")}
        yield Violation(str(run.get("id")), f"reconciliation says {run.get('verdict')}: {counts}")
