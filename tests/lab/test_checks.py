"""The checker sees every kind of violation, and none in a sound run."""

from collections.abc import Callable

import pytest

from .asks import Failure
from .checker import judge
from .checks import PROMISES
from .evidence import Evidence, Lease, Outage
from .gateway import Copy, Refusal
from .sound import changed, doubled, sound, without

Plant = Callable[[Evidence], None]
# In `sound()`: mails 0 to 2 are Ada's two and Bo's, 3 is the second client's; effects 0 to 3 are of Ada's signup.
OF_CLIENT = 3


def _answered(evidence: Evidence, what: str, ended: float = 2.0) -> None:
    evidence.asks[0].failures.append(Failure(1.0, ended, what))


def _in_doubt(evidence: Evidence, state: str) -> None:
    changed(evidence, "attempts", OF_CLIENT, outcome="unknown")
    changed(evidence, "mails", OF_CLIENT, state=state, history_state=state)


def _reordered(evidence: Evidence, what: str) -> None:
    setattr(evidence, what, list(reversed(getattr(evidence, what))))


PLANTED: dict[str, tuple[str, Plant]] = {
    "an accepted user does not exist": ("P1", lambda e: without(e, "users", 0)),
    "a verified address is pending": ("P1", lambda e: changed(e, "users", 0, status="pending")),
    "no mail is owed": ("P1", lambda e: without(e, "effects", 0)),
    "no statistics are owed": ("P1", lambda e: without(e, "effects", 1)),
    "no webhook is owed": ("P1", lambda e: without(e, "effects", 3)),
    "two answers name two users": ("P1", lambda e: e.asks[2].identities.append("cy")),
    "an answer names another user": ("P1", lambda e: changed(e, "asks", 2, identities=["cy"])),
    "a signup was refused": ("P1", lambda e: changed(e, "asks", 0, said="422 invalid")),
    "signup said no without a reason": ("P2", lambda e: _answered(e, "503")),
    "signup did not answer without a reason": ("P2", lambda e: _answered(e, "ReadTimeout")),
    "an effect is dead": ("P3", lambda e: changed(e, "effects", 1, state="dead", settled=0)),
    "an effect took place twice": ("P3", lambda e: changed(e, "effects", 1, settled=2, noted=2)),
    "a settled effect is owed again": ("P3", lambda e: doubled(e, "effects", 1, state="pending", settled=0)),
    "an effect is owed twice": ("P3", lambda e: doubled(e, "effects", 1, id="again")),
    "statistics counted twice": ("P3", lambda e: e.__setattr__("statistics", {"signups": 3, "verifications": 1})),
    "two mails for one request ID": ("P4", lambda e: doubled(e, "mails", OF_CLIENT, id="again")),
    "answers name two mails": ("P4", lambda e: e.asks[3].identities.append("m-again")),
    "a mail request was refused": ("P4", lambda e: changed(e, "asks", 3, said="422 request-id-reused")),
    "two copies of one mail": ("P4", lambda e: doubled(e, "copies", 0)),
    "copies that differ": ("P4", lambda e: doubled(e, "copies", 0, digest="others")),
    "sent without a 250": ("P5", lambda e: changed(e, "copies", 0, answered=False)),
    "sent without a copy": ("P5", lambda e: without(e, "copies", 0)),
    "in doubt and failed": ("P5", lambda e: _in_doubt(e, "failed")),
    "in doubt and queued": ("P5", lambda e: _in_doubt(e, "queued")),
    "accepted and failed": ("P5", lambda e: changed(e, "mails", OF_CLIENT, state="failed", history_state="failed")),
    "failed without a refusal": ("P5", lambda e: changed(e, "mails", OF_CLIENT, state="failed")),
    "uncertain without doubt": ("P5", lambda e: changed(e, "mails", OF_CLIENT, state="uncertain")),
    "settled and not in the mail ledger": ("P6", lambda e: without(e, "mails", 0)),
    "a mail that nothing owed": ("P6", lambda e: without(e, "effects", 0)),
    "fingerprints differ": ("P6", lambda e: changed(e, "effects", 0, fingerprint="other")),
    "another fingerprint was reported": ("P6", lambda e: changed(e, "outcomes", 0, fingerprint="other")),
    "an outcome was not reported": ("P6", lambda e: without(e, "outcomes", 0)),
    "another state was reported": ("P6", lambda e: changed(e, "outcomes", 0, state="failed")),
    "an accepted mail is not in the ledger": ("P6", lambda e: without(e, "mails", OF_CLIENT)),
    "a copy that the ledger does not know": ("P6", lambda e: changed(e, "copies", 0, message_id="<other>")),
    "a copy for another person": ("P6", lambda e: changed(e, "copies", 0, recipient="eve@lab.example")),
    "a gap in the feed": ("P6", lambda e: e.changes.__delitem__(0)),  # type: ignore[attr-defined]
    "the feed told twice": ("P6", lambda e: e.changes.append(e.changes[0])),  # type: ignore[attr-defined]
    "the feed is out of order": ("P6", lambda e: _reordered(e, "changes")),
    "the feed told what history lost": ("P6", lambda e: without(e, "entries", -1)),
    "reconciliation is out of balance": ("P6", lambda e: e.__setattr__("reconciliation", {"verdict": "missing"})),
    "a process may change history": ("P7", lambda e: changed(e, "tampering", 0, refused=False)),
    "a state without history": ("P7", lambda e: changed(e, "mails", OF_CLIENT, history_state=None)),
    "a state that history contradicts": ("P7", lambda e: changed(e, "mails", OF_CLIENT, history_state="queued")),
    "a user without history": ("P7", lambda e: changed(e, "users", 1, kinds=())),
    "verified without history": ("P7", lambda e: changed(e, "users", 1, status="verified")),
    "a delivery without history": ("P7", lambda e: changed(e, "effects", 1, noted=0)),
    "sent again after it was sent": ("model", lambda e: doubled(e, "entries", -1)),
    "sent before it was accepted": ("model", lambda e: without(e, "entries", 0)),
    "an effect is left": ("P8", lambda e: changed(e, "effects", 1, state="pending", settled=0, noted=0)),
    "a lease is overdue": ("P8", lambda e: e.__setattr__("leases", [Lease("queue", "m-mail-0")])),
    "a mail is left": ("P8", lambda e: changed(e, "mails", OF_CLIENT, state="sending")),
    "a mail is sent and queued": ("P8", lambda e: changed(e, "mails", OF_CLIENT, is_queued=True)),
    "an attempt never ended": ("P8", lambda e: changed(e, "attempts", 0, outcome=None)),
    "a client never got a yes": ("P8", lambda e: changed(e, "asks", 3, accepted_at=None)),
    "an answer was 500": ("P8", lambda e: _answered(e, "500")),
    "a gateway's fault counts": ("P9", lambda e: doubled(e, "attempts", 0, n=2, outcome="gateway_fault")),
    "attempts are miscounted": ("P9", lambda e: changed(e, "mails", 0, attempts=2)),
    "a mail expired": ("P9", lambda e: changed(e, "mails", OF_CLIENT, state="expired")),
    "an outage cost an attempt": ("P9", lambda e: changed(e, "effects", 0, attempts=2)),
    "a webhook did not arrive": ("webhooks", lambda e: changed(e, "calls", 0, answered=False)),
    "a webhook under another ID": ("webhooks", lambda e: doubled(e, "calls", 0, webhook_id="other")),
    "a webhook with another body": ("webhooks", lambda e: doubled(e, "calls", 0, digest="other")),
    "webhooks out of order": ("webhooks", lambda e: _reordered(e, "calls")),
}  # fmt: skip


def _broken(evidence: Evidence) -> set[str]:
    return {verdict.promise for verdict in judge(evidence) if not verdict.held}


def test_a_sound_run_breaks_no_promise() -> None:
    assert _broken(sound()) == set()


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_violation_is_seen(name: str) -> None:
    promise, plant = PLANTED[name]
    evidence = sound()
    plant(evidence)
    assert promise in _broken(evidence)


def test_every_promise_has_planted_violations() -> None:
    assert {promise for promise, _ in PLANTED.values()} == set(PROMISES)


def test_a_lost_answer_may_cost_a_second_copy_only_where_the_policy_is_to_resend() -> None:
    evidence = sound()
    doubled(evidence, "attempts", OF_CLIENT, n=2)
    changed(evidence, "attempts", OF_CLIENT, outcome="unknown")
    doubled(evidence, "copies", OF_CLIENT)
    changed(evidence, "mails", OF_CLIENT, attempts=2)
    assert _broken(evidence) == {"P4"}
    changed(evidence, "mails", OF_CLIENT, on_uncertain="resend")
    assert _broken(evidence) == set()


def test_a_mail_in_doubt_may_have_a_copy_or_none() -> None:
    evidence = sound()
    _in_doubt(evidence, "uncertain")
    evidence.calls = [call for call in evidence.calls if call.subscriber == "signup"]
    evidence.subscriptions = evidence.subscriptions[:1]
    assert _broken(evidence) == set()
    without(evidence, "copies", OF_CLIENT)
    assert _broken(evidence) == set()


def test_a_mail_that_the_gateway_refused_may_fail() -> None:
    evidence = sound()
    changed(evidence, "attempts", OF_CLIENT, outcome="refused")
    changed(evidence, "mails", OF_CLIENT, state="failed", history_state="failed")
    without(evidence, "copies", OF_CLIENT)
    assert _broken(evidence) == {"P5"}
    evidence.refusals = [Refusal("mail-0@lab.example", "RCPT", 550, 1.0)]
    assert _broken(evidence) == set()


def test_signup_may_say_no_while_its_own_database_is_away() -> None:
    evidence = sound()
    _answered(evidence, "503")
    evidence.outages = [Outage("Valkey killed", 0.0, 5.0, disturbs_signup=False)]
    assert _broken(evidence) == {"P2"}
    evidence.outages = [Outage("read-only", 0.0, 5.0, disturbs_signup=True)]
    assert _broken(evidence) == set()


def test_a_copy_that_no_client_asked_for_is_seen() -> None:
    evidence = sound()
    evidence.copies = [*evidence.copies, Copy("<planted@lab>", "eve@lab.example", "bytes", 0.0, answered=True)]
    assert _broken(evidence) == {"P6"}
