"""The spans of relayed outbox rows."""

import asyncio
from collections.abc import Callable

import pytest

from services.signup.outbox.retry_policy import ClaimedRow, Outcome, PeerFaultError
from shared.contract.ids import UUID
from shared.worker.circuit_breaker import Breaker
from tests.support.mail_stand_in import MailStandIn, accepts, rejects
from tests.support.relays import LoneRelay
from tests.support.signups import SignupLedger
from tests.support.spans import KeptSpans, context_of, links_of, parent_of

CAUSE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7"
ROW, CALL = "relay outbox.mail", "POST /v1/mails/batch"


@pytest.fixture
def kept() -> KeptSpans:
    return KeptSpans()


@pytest.fixture
def relay(make_relay: Callable[..., LoneRelay], kept: KeptSpans) -> LoneRelay:
    return make_relay(tracing=kept.tracing)


async def _owe(ledger: SignupLedger, *emails: str) -> None:
    await ledger.sign_up(*emails)
    await ledger.run("UPDATE outbox SET traceparent = $1", f"{CAUSE}-01")


async def test_a_row_is_a_child_span_of_its_cause_and_the_mail_request_names_the_row(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn, kept: KeptSpans
) -> None:
    await _owe(ledger, "asa@example.org")
    row_id = str((await ledger.row("outbox"))["id"])
    await relay.run_once()
    call, row = kept.ended
    assert (call.name, row.name) == (CALL, ROW)
    assert parent_of(row) == CAUSE
    assert mail_api.requests[0]["mails"][0]["traceparent"] == context_of(row)
    assert dict(row.attributes or {}) == {
        "messaging.system": "counterfoil",
        "messaging.operation.name": "relay",
        "messaging.operation.type": "process",
        "messaging.destination.name": "outbox.mail",
        "messaging.message.id": row_id,
        "counterfoil.attempt": 1,
        "counterfoil.outcome": "delivered",
    }
    assert (await ledger.row("outbox_settled"))["traceparent"] == f"{CAUSE}-01", "the stored cause is unchanged"


async def test_the_call_for_a_batch_is_a_separate_trace_that_links_every_row(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn, kept: KeptSpans
) -> None:
    await _owe(ledger, *(f"p{n}@example.org" for n in range(150)))
    await relay.run_once()
    call, *rows = kept.ended
    assert call.parent is None
    assert len(rows) == 150
    assert sorted(links_of(call)) == sorted(context_of(row)[:-3] for row in rows)
    assert f"traceparent: {context_of(call)}" in mail_api.headers[0]


@pytest.mark.parametrize(
    ("status", "outcome", "error"), [(422, "dead", "refused"), (503, "retried", "try_later"), (200, "delivered", None)]
)
async def test_an_undelivered_row_is_a_failed_span_without_the_peers_text(
    ledger: SignupLedger,
    relay: LoneRelay,
    mail_api: MailStandIn,
    kept: KeptSpans,
    status: int,
    outcome: str,
    error: str | None,
) -> None:
    await _owe(ledger, "asa@example.org")
    mail_api.answer_for = accepts if status == 200 else rejects(status)
    await relay.run_once()
    assert kept.summaries() == [(CALL, None, None), (ROW, outcome, error)]
    assert "because" not in str([span.attributes for span in kept.ended])


@pytest.mark.parametrize(
    ("answer", "error"), [("hang_up", "RemoteProtocolError"), (500, "500"), ("hang", "TimeoutError")]
)
async def test_an_outage_fails_the_spans_of_the_call_and_of_every_released_row(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn, kept: KeptSpans, answer: int | str, error: str
) -> None:
    await _owe(ledger, "asa@example.org", "bo@example.org")
    mail_api.answer_with = answer
    await relay.run_once()
    assert kept.summaries() == [(CALL, None, error), *[(ROW, "released", "peer_fault")] * 2]


async def test_every_attempt_is_a_span_with_its_number(
    ledger: SignupLedger, relay: LoneRelay, mail_api: MailStandIn, kept: KeptSpans
) -> None:
    await _owe(ledger, "asa@example.org")
    mail_api.answer_for = rejects(503)
    for _ in range(2):
        await relay.run_once()
        await ledger.run("UPDATE outbox SET due_at = now()")
    rows = [span for span in kept.ended if span.name == ROW]
    assert [(row.attributes or {})["counterfoil.attempt"] for row in rows] == [1, 2]
    assert {parent_of(row) for row in rows} == {CAUSE}


async def test_rows_of_an_import_are_separate_traces_that_link_the_import(
    ledger: SignupLedger, relay: LoneRelay, kept: KeptSpans
) -> None:
    await _owe(ledger, "asa@example.org", "bo@example.org")
    await ledger.run('UPDATE outbox SET payload = payload || \'{"lane": "bulk"}\'')
    await relay.run_once()
    rows = [span for span in kept.ended if span.name == ROW]
    assert [links_of(row) for row in rows] == [[CAUSE], [CAUSE]]
    assert len({context_of(row).split("-")[1] for row in rows} | {CAUSE.split("-")[1]}) == 3


async def test_a_row_without_a_readable_cause_is_relayed(
    ledger: SignupLedger, relay: LoneRelay, kept: KeptSpans
) -> None:
    await ledger.sign_up("asa@example.org", "bo@example.org")
    await ledger.run("UPDATE outbox SET traceparent = 'nonsense' WHERE payload #>> '{to,email}' = 'bo@example.org'")
    await relay.run_once()
    assert relay.counts == {"delivered": 2}
    assert [parent_of(span) for span in kept.ended] == [None] * 3


@pytest.mark.parametrize(
    ("fault", "error"),
    [(RuntimeError("asa@example.org"), "RuntimeError"), (asyncio.CancelledError(), "CancelledError")],
)
async def test_spans_of_unsettled_rows_are_interrupted(
    ledger: SignupLedger, kept: KeptSpans, fault: BaseException, error: str
) -> None:
    class Broken:
        name = "mail"

        async def perform(self, _entries: object) -> dict[UUID, Outcome]:
            raise fault

        async def close(self) -> None:
            """Holds nothing."""

    await _owe(ledger, "asa@example.org")
    relay = LoneRelay(ledger.pool, Broken(), breaker=Breaker("mail"), batch=10, lease_seconds=30, tracing=kept.tracing)
    with pytest.raises(type(fault)):
        await relay.run_once()
    assert kept.summaries() == [(ROW, "interrupted", error)]
    assert "asa@" not in str(kept.ended[0].to_json())


async def test_every_effect_has_spans_of_its_own(ledger: SignupLedger, kept: KeptSpans) -> None:
    class Down:
        name = "webhook"
        seen: list[str | None]

        async def perform(self, entries: "list[ClaimedRow]") -> dict[UUID, Outcome]:
            self.seen = [entry.traceparent for entry in entries]
            raise PeerFaultError("down")

        async def close(self) -> None:
            """Holds nothing."""

    await _owe(ledger, "asa@example.org")
    await ledger.run("UPDATE outbox SET effect = 'webhook'")
    down = Down()
    relay = LoneRelay(ledger.pool, down, breaker=Breaker("webhook"), batch=10, lease_seconds=30, tracing=kept.tracing)  # type: ignore[arg-type]
    await relay.run_once()
    (span,) = kept.ended
    assert kept.summaries() == [("relay outbox.webhook", "released", "peer_fault")]
    assert down.seen == [context_of(span)]
