"""One signup is one trace through both services, the outbox and the queue, with the real processes."""

import re
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator

import httpx
import pytest

from local.ports import pick_free
from tests.support.collector import Collector, SeenSpan, collecting
from tests.support.running import open_ledgers
from tests.support.stack import PROCESSES, STOP_SECONDS, Ledgers, Stack, eventually

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = f"00-{TRACE}-00f067aa0ba902b7-01"
EMAIL, NAME = "zsofia.spanova@x.example", "Zsófia Spanová"
ACCEPT, DELIVER = "accept mail.queue", "deliver mail.queue"
CHAIN = ("POST /v1/signups", "relay outbox.mail", ACCEPT, DELIVER)
# What a mail and its history keep: accepted, sent.
KEPT = """
SELECT array_agg(traceparent) FROM (
    SELECT traceparent FROM mails WHERE id = $1::uuid
    UNION ALL SELECT traceparent FROM history WHERE subject = $1::text
) AS kept
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as running:
        yield running


@pytest.fixture(scope="module")
def traced_stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
    settings |= {"MAIL_TIMEOUT_SECONDS": "30", "SIGNUP_LEASE_SECONDS": "60"}  # one relay is one span
    stack = Stack(tmp_path_factory.mktemp("traced"), settings)
    try:
        stack.start_all()
        yield stack
    finally:
        stack.stop_all()


async def _exported(collector: Collector, until: Callable[[list[SeenSpan]], bool], what: str) -> list[SeenSpan]:
    """Returns all spans once `until` holds of them: each process exports its own, at its own time."""

    async def spans() -> list[SeenSpan]:
        return collector.spans

    return await eventually(spans, until, what=what)


async def _only(collector: Collector, matches: Callable[[SeenSpan], bool], what: str) -> SeenSpan:
    """Returns the one span that `matches`, once it is exported."""
    (span,) = filter(matches, await _exported(collector, lambda spans: any(map(matches, spans)), what))
    return span


async def _trace(collector: Collector, trace_id: str, *names: str) -> list[SeenSpan]:
    """Returns the spans of a trace in the order they ended, once each name is among them as often as it is given."""

    def of_trace(spans: list[SeenSpan]) -> list[SeenSpan]:
        return [span for span in spans if span.trace_id == trace_id]

    wanted = Counter(names)
    return of_trace(
        await _exported(
            collector, lambda spans: Counter(span.name for span in of_trace(spans)) >= wanted, f"{trace_id}: {wanted}"
        )
    )


def _named(spans: list[SeenSpan], name: str) -> SeenSpan:
    (span,) = [span for span in spans if span.name == name]
    return span


async def _mail_of(ledgers: Ledgers, email: str) -> dict[str, str]:
    (mail,) = await eventually(lambda: ledgers.mails(to=email, state="sent"), bool, what="the mail as sent")
    return mail


async def test_one_signup_is_one_trace_from_the_request_to_the_smtp_attempt(
    traced_stack: Stack, collector: Collector
) -> None:
    async with open_ledgers(traced_stack) as ledgers:
        answer = await ledgers.anonymous.post(
            "/v1/signups", json={"email": EMAIL, "name": NAME}, headers={"traceparent": CALLER}
        )
        assert (answer.status_code, answer.headers["traceparent"]) == (202, CALLER)
        spans = await _trace(collector, TRACE, *CHAIN)
        mail = await _mail_of(ledgers, EMAIL)
        kept = await ledgers.fetchval("mail", KEPT, mail["id"])
    request, row, accept, attempt = chain = [_named(spans, name) for name in CHAIN]
    assert [span.parent_id for span in chain] == [CALLER.split("-")[2], *(span.span_id for span in chain[:-1])]
    assert [span.service for span in chain] == ["signup-api", "signup-worker", "mail-api", "mail-worker"]
    assert [span.kind for span in chain] == ["SERVER", "CONSUMER", "PRODUCER", "CONSUMER"]
    assert not any(span.failed for span in spans)
    assert {span.parent_id for span in spans if span.name.startswith("relay ")} == {request.span_id}
    assert row.attributes["messaging.message.id"] == mail["request_id"]
    assert accept.attributes["messaging.message.id"] == attempt.attributes["messaging.message.id"] == mail["id"]
    assert len(kept) == 3
    assert {traceparent[:-2] for traceparent in kept} == {accept.traceparent}
    attributes = {name: value for name, value in attempt.attributes.items() if not name.startswith("messaging.")}
    assert attributes == {
        "network.protocol.name": "smtp",
        "counterfoil.attempt": 1,
        "counterfoil.gateway": "catcher",
        "counterfoil.outcome": "accepted",
        "counterfoil.phase": "transmitting",
        "counterfoil.smtp.code": 250,
    } | ({"counterfoil.smtp.enhanced_code": "2.0.0"} if "counterfoil.smtp.enhanced_code" in attributes else {})
    (link,) = accept.links
    call = await _only(collector, lambda span: (span.trace_id, span.span_id) == link, "the span that links to its call")
    sender = await _only(collector, lambda span: span.span_id == call.parent_id, "the span of the call's sender")
    assert call.name == sender.name == "POST /v1/mails/batch"
    assert (call.service, call.kind, sender.service, sender.kind) == ("mail-api", "SERVER", "signup-worker", "CLIENT")
    assert (row.trace_id, row.span_id) in sender.links


async def test_no_personal_data_is_exported_to_the_collector(traced_stack: Stack, collector: Collector) -> None:
    async with open_ledgers(traced_stack) as ledgers:
        await ledgers.sign_up(EMAIL, NAME)
        mail = await _mail_of(ledgers, EMAIL)
        (caught,) = await eventually(lambda: ledgers.caught(EMAIL), bool, what="the mail in the catcher")
        message = (await ledgers.catcher.get(f"/api/v1/message/{caught['ID']}")).json()
        found = re.search(r"/verify/([\w.-]+)", message["Text"])
        assert found is not None
        token = found.group(1)
        await ledgers.anonymous.get(f"/verify/{token}")
        assert (await ledgers.anonymous.post("/v1/verifications", json={"token": token})).status_code == 200
        await ledgers.signup.get("/v1/users", params={"email": EMAIL})
        await ledgers.mail.put(f"/v1/suppressions/{EMAIL}", json={"reason": "Spanová asked"})
        await ledgers.mail.get(f"/v1/mails/{mail['id']}", params={"include": "content"})
        user = await ledgers.user(EMAIL)
        await ledgers.signup.delete(f"/v1/users/{user['id']}")
    requests = {"GET /verify/{token}", "POST /v1/verifications", "GET /v1/users", "DELETE /v1/users/{user_id}"}
    requests |= {"PUT /v1/suppressions/{email}", "GET /v1/mails/{mail_id:uuid}"}
    await _exported(collector, lambda spans: {span.name for span in spans} >= requests, str(requests))
    erased = await _only(collector, lambda span: span.name == "relay outbox.erase_mail", "the erasure in a trace")
    below = await _only(collector, lambda span: span.parent_id == erased.span_id, "the call of the erasure")
    assert (below.name, below.service) == ("POST /v1/erasures", "mail-api")
    sent = b"".join(collector.bodies)
    for personal in (EMAIL, "zsofia", "spanova", NAME, "Zsófia", "Spanová", token, traced_stack.operator_key):
        assert personal.encode() not in sent, personal


async def test_the_span_of_a_killed_workers_attempt_is_exported_by_the_worker_that_rescues_it(
    traced_stack: Stack, collector: Collector
) -> None:
    trace_id, stack = "a" * 32, traced_stack
    async with open_ledgers(stack) as ledgers:
        stack.kill("catcher")
        with socket.create_server(("127.0.0.1", stack.ports["smtp"])):  # accepts connections and sends nothing
            await ledgers.anonymous.post(
                "/v1/signups",
                json={"email": "rescued@x.example", "name": "R"},
                headers={"traceparent": f"00-{trace_id}-{'b' * 16}-01"},
            )
            await eventually(
                lambda: ledgers.fetchval("mail", "SELECT count(*) FROM mails WHERE state = 'sending'"),
                bool,
                what="a claim",
            )
            stack.kill("mail-worker")
        await stack.bring_back()
        spans = await _trace(collector, trace_id, ACCEPT, DELIVER, DELIVER)
    lost, sent = [span for span in spans if span.name == DELIVER][:2]
    assert (lost.attributes["counterfoil.outcome"], lost.failed) == ("gateway_fault", True)
    assert (lost.attributes["counterfoil.phase"], lost.attributes["counterfoil.attempt"]) == ("claimed", 1)
    assert lost.seconds > 0
    assert (sent.attributes["counterfoil.outcome"], sent.attributes["counterfoil.attempt"]) == ("accepted", 2)
    assert lost.parent_id == sent.parent_id == _named(spans, ACCEPT).span_id


async def test_collectors_that_refuse_or_do_not_answer_cause_only_a_log_line(traced_stack: Stack) -> None:
    stack = traced_stack
    _end_all(stack)
    logged = {name: len(stack.log_of(name)) for name in PROCESSES}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        for name in PROCESSES:
            port = pick_free() if name.endswith("api") else silent.getsockname()[1]
            stack.start(name, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
        emails = [f"dead-{n}@x.example" for n in range(20)]
        async with open_ledgers(stack) as ledgers:
            answers = [await ledgers.sign_up(email) for email in emails]
            assert {answer.status_code for answer in answers} == {202}
            for email in emails:
                await _mail_of(ledgers, email)
            # As without a collector: uvicorn ends by the signal itself, after it has closed everything.
            assert _end_all(stack) == dict(zip(PROCESSES, (-signal.SIGTERM, 0) * 2, strict=True))
    for name, length in logged.items():
        lines = stack.log_of(name)[length:].splitlines()
        assert len([line for line in lines if "spans batch" in line]) <= 1, name
        assert not [line for line in lines if "Traceback" in line], name


def _end_all(stack: Stack) -> dict[str, int]:
    """Sends SIGTERM to all four at once; returns their exit statuses."""
    for name in PROCESSES:
        stack.processes[name].terminate()
    return {name: stack.processes[name].wait(STOP_SECONDS) for name in PROCESSES}


async def test_the_trace_of_another_clients_mail_begins_at_the_mail_service(
    traced_stack: Stack, collector: Collector
) -> None:
    async with open_ledgers(traced_stack) as ledgers:
        answer: httpx.Response = await ledgers.mail.post(
            "/v1/mails", json={"request_id": "of-another", "to": {"email": "o@x.example"}, "subject": "S", "text": "T"}
        )
        trace_id = answer.headers["traceparent"].split("-")[1]
        spans = await _trace(collector, trace_id, "POST /v1/mails", ACCEPT, DELIVER)
    request = _named(spans, "POST /v1/mails")
    assert (request.service, request.parent_id) == ("mail-api", "")
    assert _named(spans, ACCEPT).parent_id == request.span_id
