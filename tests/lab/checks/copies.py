"""P4 and P5: how often a mail was sent, and what the ledger may say of that. The gateway's record is the judge."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from ..evidence import Attempt, Evidence, Mail
from ..gateway import Copy
from .violation import Violation

# What may be said of a mail of which a copy left.
_MAY_HAVE_LEFT = ("sent", "bounced", "uncertain")
_PERMANENT = 500


def once(evidence: Evidence) -> list[Violation]:
    """P4: one mail for each client and request ID, for ever."""
    return [*_one_row(evidence), *_one_identity(evidence), *_no_copy_too_many(evidence)]


def _one_row(evidence: Evidence) -> Iterator[Violation]:
    rows = Counter((mail.client, mail.request_id) for mail in evidence.mails)
    for (client, request_id), count in rows.items():
        if count > 1:
            yield Violation(f"{client} {request_id}", f"has {count} mails")


def _one_identity(evidence: Evidence) -> Iterator[Violation]:
    ids = {mail.request_id: mail.id for mail in evidence.mails}
    for ask in evidence.asks:
        if ask.kind not in ("mail", "batch"):
            continue
        if ask.said is not None:
            yield Violation(ask.key, f"was refused: {ask.said[:200]}")
        if ask.is_accepted:
            wanted = [ask.key] if ask.kind == "mail" else ask.members
            if set(ask.identities) != {ids.get(request_id, "no mail") for request_id in wanted}:
                yield Violation(ask.key, f"answers name {len(ask.identities)} mails, and not those of the ledger")


def _no_copy_too_many(evidence: Evidence) -> Iterator[Violation]:
    copies, attempts = _copies(evidence), _attempts(evidence)
    for mail in evidence.mails:
        outcomes = Counter(attempt.outcome for attempt in attempts[mail.id])
        may_be, have = outcomes["accepted"] + outcomes["unknown"], len(copies[mail.message_id])
        if have > may_be:
            yield Violation(mail.id, f"{have} copies, and the ledger explains {may_be} ({_said(attempts[mail.id])})")
        if mail.on_uncertain == "hold" and have > 1:
            yield Violation(mail.id, f"{have} copies, and its policy is `hold`")
        if len({copy.digest for copy in copies[mail.message_id]}) > 1:
            yield Violation(mail.id, "its copies differ")


def honest(evidence: Evidence) -> list[Violation]:
    """P5: `sent` means that a gateway said 250; a mail in doubt is `uncertain`."""
    copies, attempts = _copies(evidence), _attempts(evidence)
    refused = {refusal.recipient for refusal in evidence.refusals if refusal.code >= _PERMANENT}
    found: list[Violation] = []
    for mail in evidence.mails:
        found += _judge(mail, copies[mail.message_id], attempts[mail.id])
        if mail.state == "failed" and mail.to not in refused:
            found.append(Violation(mail.id, "failed, and the gateway refused no mail to its recipient"))
    return found


def _judge(mail: Mail, copies: list[Copy], attempts: list[Attempt]) -> Iterator[Violation]:
    outcomes = Counter(attempt.outcome for attempt in attempts)
    if mail.state in ("sent", "bounced"):
        if not any(copy.answered for copy in copies):
            yield Violation(mail.id, f"is {mail.state}, and no 250 left the gateway ({_said(attempts)})")
    elif outcomes["accepted"]:
        yield Violation(mail.id, f"a gateway accepted it, and it is {mail.state}")
    elif outcomes["unknown"] and mail.state != "uncertain":
        yield Violation(mail.id, f"it is unknown whether it left, and it is {mail.state}")
    if copies and mail.state not in _MAY_HAVE_LEFT:
        yield Violation(mail.id, f"is {mail.state}, and the gateway has {len(copies)} copies ({_said(attempts)})")
    if mail.state == "uncertain" and not outcomes["unknown"]:
        yield Violation(mail.id, f"is uncertain, and no attempt ended in doubt ({_said(attempts)})")


def _copies(evidence: Evidence) -> dict[str, list[Copy]]:
    found: dict[str, list[Copy]] = defaultdict(list)
    for copy in evidence.copies:
        found[copy.message_id].append(copy)
    return found


def _attempts(evidence: Evidence) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in evidence.attempts:
        found[attempt.mail_id].append(attempt)
    return found


def _said(attempts: list[Attempt]) -> str:
    return ", ".join(f"{attempt.n}: {attempt.outcome or attempt.phase}" for attempt in attempts) or "no attempt"
