"""What the calls of the mail service do with lost answers, long lists, and what they cannot know."""

from datetime import UTC, datetime
from email.utils import format_datetime
from itertools import islice
from typing import Any
from uuid import UUID

import orjson
import pytest

from counterfoil_client import Attachment, Recipient, Retry, errors
from counterfoil_client.mail_plans import MailPlans
from counterfoil_client.steps import Call, Outcome
from counterfoil_client.testing import FakeMailService

from .driving import LOST, NEVER_ARRIVED, Bench, answer

MAIL = {"to": "ada@x.example", "subject": "S", "text": "T"}
NOW = datetime(2026, 5, 1, 12, 0, 10, tzinfo=UTC)


def _resource(request_id: str, **changes: Any) -> dict[str, Any]:
    with FakeMailService() as fake, fake.client() as mail:
        mail.send(request_id=request_id, to="ada@x.example", subject="S", text="T")
        (entry,) = fake._ledger.entries.values()
        return entry.mail | {"accepted_at": NOW.isoformat()} | changes


def _looked_up(*mails: dict[str, Any], missing: tuple[str, ...] = ()) -> Outcome:
    found = {mail["request_id"]: mail for mail in mails}
    return answer(200, {"found": found, "missing": missing}, date=format_datetime(NOW, usegmt=True))


def _paths(bench: Bench) -> list[str]:
    return [step.call.path for step in bench.sent]


def test_send_once_finds_the_mail_in_the_ledger_after_a_lost_answer() -> None:
    bench = Bench(iter([LOST, _looked_up(_resource("one"))]))
    assert bench.run(MailPlans(bench.exchange).send_once("one", MAIL, None)).request_id == "one"
    assert _paths(bench) == ["/v1/mails", "/v1/mails/lookup"]
    assert bench.pauses == []


def test_send_once_sends_again_under_the_same_id_what_the_ledger_does_not_have() -> None:
    bench = Bench(iter([LOST, _looked_up(missing=("one",)), answer(202, _resource("one"))]))
    bench.run(MailPlans(bench.exchange).send_once("one", MAIL, None))
    assert _paths(bench) == ["/v1/mails", "/v1/mails/lookup", "/v1/mails"]
    assert bench.sent[0].call.body == bench.sent[2].call.body
    assert len(bench.pauses) == 1


def test_send_once_asks_the_service_whether_a_mail_from_before_this_call_is_the_same() -> None:
    earlier = _resource("one", accepted_at=datetime(2026, 5, 1, 11, tzinfo=UTC).isoformat())
    reused = {"type": "/problems/request-id-reused", "status": 422, "errors": [{"pointer": "/subject", "detail": "D"}]}
    bench = Bench(iter([LOST, _looked_up(earlier), answer(422, reused)]))
    with pytest.raises(errors.RequestIdReused) as caught:
        bench.run(MailPlans(bench.exchange).send_once("one", MAIL, None))
    assert caught.value.fields == ("/subject",)


def test_send_once_works_with_a_key_that_may_only_send() -> None:
    forbidden = answer(403, {"type": "/problems/forbidden", "status": 403})
    bench = Bench(iter([LOST, forbidden, answer(202, _resource("one"))]))
    assert bench.run(MailPlans(bench.exchange).send_once("one", MAIL, None)).request_id == "one"


def test_send_once_waits_out_an_outage_like_send() -> None:
    bench = Bench(iter([answer(503), answer(503), answer(202, _resource("one"))]))
    bench.run(MailPlans(bench.exchange).send_once("one", MAIL, None))
    assert _paths(bench) == ["/v1/mails"] * 3


def test_send_once_gives_up_at_its_deadline_whichever_call_is_lost() -> None:
    outcomes = [LOST, _looked_up(missing=("one",))] * 100
    bench = Bench(iter(outcomes), Retry(deadline_seconds=20))
    with pytest.raises(errors.DeadlineExceeded) as caught:
        bench.run(MailPlans(bench.exchange).send_once("one", MAIL, None))
    assert isinstance(caught.value.__cause__, errors.LostAnswer)
    assert bench.now <= 1020


def test_send_once_says_that_the_mail_may_be_there_when_only_the_lookup_found_no_way() -> None:
    bench = Bench(iter([LOST, *[NEVER_ARRIVED] * 100]), Retry(deadline_seconds=5))
    with pytest.raises(errors.DeadlineExceeded) as caught:
        bench.run(MailPlans(bench.exchange).send_once("one", MAIL, None))
    assert caught.value.may_have_arrived


def test_a_batch_is_split_by_number_and_by_size_and_its_results_keep_their_order() -> None:
    def accept_all(call: Call) -> Outcome:
        mails = orjson.loads(call.body or b"")["mails"]
        sizes.append(len(mails))
        return answer(200, {"results": [_result(mail["request_id"]) for mail in mails]})

    def _result(request_id: str) -> dict[str, Any]:
        return {"request_id": request_id, "outcome": "accepted", "mail": resource | {"request_id": request_id}}

    sizes: list[int] = []
    resource = _resource("any")
    small = [{"request_id": f"s{n}", **MAIL} for n in range(1001)]
    bench = Bench(iter([accept_all] * 3))
    results = bench.run(MailPlans(bench.exchange).send_batch(small, None))
    assert ([result.request_id for result in results], sizes) == ([f"s{n}" for n in range(1001)], [500, 500, 1])
    sizes.clear()
    large = [{"request_id": f"l{n}", **MAIL, "text": "x" * 3_000_000} for n in range(5)]
    bench = Bench(iter([accept_all] * 3))
    bench.run(MailPlans(bench.exchange).send_batch(large, None))
    assert sizes == [2, 2, 1]


def test_a_rejected_mail_of_a_batch_is_the_error_that_send_would_have_raised() -> None:
    problem = {"type": "/problems/unknown-template", "status": 422, "errors": [{"pointer": "/template", "detail": "D"}]}
    rejected = {"request_id": "one", "outcome": "rejected", "problem": problem}
    bench = Bench(iter([answer(200, {"results": [rejected]})]))
    (result,) = bench.run(MailPlans(bench.exchange).send_batch([{"request_id": "one", **MAIL}], None))
    with pytest.raises(errors.UnknownTemplate):
        result.unwrap()


def test_a_lookup_of_many_ids_is_split_and_asks_for_each_once() -> None:
    asked: list[int] = []

    def find_none(call: Call) -> Outcome:
        ids = orjson.loads(call.body or b"")["request_ids"]
        asked.append(len(ids))
        return _looked_up(missing=tuple(ids))

    bench = Bench(iter([find_none] * 3))
    ids = [f"r{n}" for n in range(2001)]
    assert bench.run(MailPlans(bench.exchange).look_up([*ids, *ids])).missing == tuple(ids)
    assert asked == [1000, 1000, 1]


def test_sent_includes_a_deleted_mail_that_is_known_to_have_been_sent() -> None:
    gone = {"request_id": "gone", "mail_id": str(UUID(int=1)), "state": "sent", "lost_at": NOW.isoformat()}
    looked_up = {
        "found": {"waits": _resource("waits"), "went": _resource("went", sent_at=NOW.isoformat(), state="bounced")},
        "missing": ["gone", "never"],
        "lost": {"gone": gone | {"sent_at": NOW.isoformat()}},
    }
    bench = Bench(iter([answer(200, looked_up)]))
    assert bench.run(MailPlans(bench.exchange).sent(["waits", "went", "gone", "never"])) == {"went": NOW, "gone": NOW}


@pytest.mark.parametrize(
    ("states", "error"),
    [
        (["queued", "deferred", "failed"], errors.NotSent),
        (["canceled"], errors.NotSent),
        (["suppressed"], errors.NotSent),
        (["uncertain"], errors.NotSent),
        (["queued"] * 100, errors.DeadlineExceeded),
        ([], errors.UnknownRequestId),
    ],
)
def test_waiting_ends_with_the_reason_why_a_mail_is_not_sent(states: list[str], error: type[Exception]) -> None:
    outcomes = [_looked_up(_resource("one", state=state)) for state in states] or [_looked_up(missing=("one",))]
    bench = Bench(iter(outcomes))
    with pytest.raises(error):
        bench.run(MailPlans(bench.exchange).wait_until_sent("one", timeout_seconds=10, poll_seconds=1))
    assert bench.now <= 1010


def test_waiting_goes_on_while_an_uncertain_mail_is_to_be_sent_again_by_itself() -> None:
    again = _looked_up(_resource("one", state="uncertain", on_uncertain="resend"))
    bench = Bench(iter([again, _looked_up(_resource("one", state="sent", sent_at=NOW.isoformat()))]))
    plan = MailPlans(bench.exchange).wait_until_sent("one", timeout_seconds=10, poll_seconds=1)
    assert bench.run(plan).sent_at == NOW


def _page(*request_ids: str, cursor: str, **members: bool) -> Outcome:
    names = ("id", "mail_id", "client", "state", "message_id", "sent_at", "fingerprint", "template")
    resource = _resource("any") | {"mail_id": str(UUID(int=2))}
    items = [
        {name: resource[name] for name in names}
        | {"request_id": each, "at": NOW.isoformat(), "kind": "mail.accepted", "correlation_id": None, "detail": {}}
        for each in request_ids
    ]
    return answer(200, {"items": items, "next_cursor": cursor, **members})


def test_a_change_carries_the_cursor_that_misses_nothing_once_it_is_handled() -> None:
    bench = Bench(iter([_page("a", "b", cursor="c1"), _page("c", cursor="c2")]))
    plan = MailPlans(bench.exchange).follow("c0", wait=False, poll_seconds=1, start_again=False, page_size=2)
    changes = list(bench.iterate(plan))
    assert [(change.request_id, change.cursor) for change in changes] == [("a", "c0"), ("b", "c1"), ("c", "c2")]
    assert [dict(step.call.params)["after"] for step in bench.sent] == ["c0", "c1"]


@pytest.mark.parametrize("wait", [False, True])
def test_following_goes_on_at_once_behind_a_short_page_that_has_more_behind_it(*, wait: bool) -> None:
    pages = [_page(cursor="c1", more=True), _page("a", cursor="c2", more=True), _page("b", cursor="c3", more=False)]
    bench = Bench(iter(pages))
    following = bench.iterate(
        MailPlans(bench.exchange).follow("c0", wait=wait, poll_seconds=1, start_again=False, page_size=2)
    )
    assert [(change.request_id, change.cursor) for change in islice(following, 2)] == [("a", "c2"), ("b", "c3")]
    assert [dict(step.call.params)["after"] for step in bench.sent] == ["c0", "c1", "c2"]
    assert bench.pauses == []
    if not wait:
        assert list(following) == []


def test_following_ends_with_a_full_page_that_has_nothing_behind_it() -> None:
    bench = Bench(iter([_page("a", "b", cursor="c1", more=False)]))
    plan = MailPlans(bench.exchange).follow(None, wait=False, poll_seconds=1, start_again=False, page_size=2)
    assert [change.request_id for change in bench.iterate(plan)] == ["a", "b"]


def test_following_polls_from_the_cursor_of_an_empty_page() -> None:
    bench = Bench(iter([_page(cursor="c1"), _page("a", cursor="c2")]))
    plan = MailPlans(bench.exchange).follow("c0", wait=True, poll_seconds=1, start_again=False, page_size=2)
    assert next(bench.iterate(plan)).cursor == "c2"
    assert [dict(step.call.params)["after"] for step in bench.sent] == ["c0", "c1"]


def test_following_polls_when_all_is_read_and_waits_out_any_outage() -> None:
    outage = [answer(503, None)] * 200
    bench = Bench(iter([_page(cursor="c1"), *outage, _page("a", cursor="c2")]), Retry(deadline_seconds=5))
    plan = MailPlans(bench.exchange).follow(None, wait=True, poll_seconds=2, start_again=False, page_size=500)
    assert next(bench.iterate(plan)).request_id == "a"
    assert bench.pauses[0] == 2
    assert bench.now > 1000 + 5


def test_a_lost_cursor_is_raised_or_begun_anew_as_the_caller_said() -> None:
    lost = answer(410, {"type": "/problems/cursor-lost", "status": 410})
    bench = Bench(iter([lost]))
    plans = MailPlans(bench.exchange)
    with pytest.raises(errors.CursorLost):
        list(bench.iterate(plans.follow("c0", wait=False, poll_seconds=1, start_again=False, page_size=500)))
    bench.script = iter([lost, _page("a", cursor="c1")])
    (change,) = bench.iterate(plans.follow("c0", wait=False, poll_seconds=1, start_again=True, page_size=500))
    assert change.cursor == "c1"
    assert "after" not in dict(bench.sent[-1].call.params)


def test_a_mail_is_written_as_the_service_reads_it() -> None:
    fields = {
        "to": Recipient("ada@x.example", "Åda"),
        "from_": "shop@x.example",
        "reply_to": Recipient("help@x.example"),
        "subject": "S",
        "text": "T",
        "html": None,
        "tags": ("a", "b"),
        "send_at": NOW,
        "attachments": [Attachment("a.txt", b"hello", "text/plain")],
    }
    bench = Bench(iter([answer(202, _resource("one"))]))
    bench.run(MailPlans(bench.exchange).send("one", fields, None))
    assert orjson.loads(bench.sent[0].call.body or b"") == {
        "request_id": "one",
        "to": {"email": "ada@x.example", "name": "Åda"},
        "from": "shop@x.example",
        "reply_to": {"email": "help@x.example"},
        "subject": "S",
        "text": "T",
        "tags": ["a", "b"],
        "send_at": "2026-05-01T12:00:10+00:00",
        "attachments": [{"filename": "a.txt", "content_type": "text/plain", "content": "aGVsbG8="}],
    }


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"id": 7}'])
def test_a_success_that_is_no_mail_is_an_unreadable_answer(body: bytes) -> None:
    unreadable = answer(202)
    bench = Bench(iter([type(unreadable)(202, {}, body)]))
    with pytest.raises(errors.UnreadableAnswer):
        bench.run(MailPlans(bench.exchange).send("one", MAIL, None))


def test_fields_that_a_later_service_adds_are_ignored() -> None:
    bench = Bench(iter([answer(202, _resource("one", priority="high", state="on-its-way"))]))
    assert bench.run(MailPlans(bench.exchange).send("one", MAIL, None)).state == "on-its-way"
