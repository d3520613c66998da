"""What the client repeats, how long it waits, and when it gives up."""

import pickle
from itertools import chain, repeat

import pytest

from counterfoil_client import Retry, errors
from counterfoil_client.steps import Call, Outcome

from .driving import LOST, NEVER_ARRIVED, Bench, answer

SAFE = Call("POST", "/v1/mails", body=b"{}")
UNSAFE = Call("POST", "/v1/mails/1/cancel", is_repeatable=False)
OK = answer(200, {})


def _problem(status: int, slug: str, **headers: str) -> Outcome:
    return answer(status, {"type": f"/problems/{slug}", "title": "T", "status": status, "detail": "D"}, **headers)


@pytest.mark.parametrize(
    "fault", [LOST, NEVER_ARRIVED, _problem(429, "rate-limited"), answer(502), answer(503), answer(504)]
)
def test_a_call_that_is_safe_to_repeat_is_repeated_after_every_passing_fault(fault: Outcome) -> None:
    bench = Bench(iter([fault, fault, OK]))
    assert bench.run(bench.exchange.ask(SAFE)).status == 200
    assert len(bench.sent) == 3


@pytest.mark.parametrize("fault", [NEVER_ARRIVED, _problem(429, "rate-limited")])
def test_an_unsafe_call_is_repeated_only_when_it_was_not_carried_out(fault: Outcome) -> None:
    bench = Bench(iter([fault, OK]))
    assert bench.run(bench.exchange.ask(UNSAFE)).status == 200


@pytest.mark.parametrize(("fault", "error"), [(LOST, errors.LostAnswer), (answer(503), errors.ServerFault)])
def test_an_unsafe_call_that_may_have_been_carried_out_is_not_repeated(fault: Outcome, error: type[Exception]) -> None:
    bench = Bench(iter([fault]))
    with pytest.raises(error):
        bench.run(bench.exchange.ask(UNSAFE))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 413, 415, 422, 500])
def test_a_verdict_is_never_asked_for_again(status: int) -> None:
    bench = Bench(iter([answer(status)]))
    with pytest.raises(errors.ApiError) as caught:
        bench.run(bench.exchange.ask(SAFE))
    assert caught.value.status == status


def test_waits_are_drawn_between_nothing_and_a_doubling_bound() -> None:
    policy = Retry(base_seconds=1, cap_seconds=5)
    assert [policy.wait_seconds(attempt, 1.0, None) for attempt in (1, 2, 3, 4, 1000)] == [1, 2, 4, 5, 5]
    assert policy.wait_seconds(3, 0.0, None) == 0
    assert policy.wait_seconds(3, 0.5, None) == 2


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry_after": "7"}, 7),
        # By the answer's own clock: this machine's may be wrong.
        ({"retry_after": "Wed, 21 Oct 2015 07:28:05 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}, 5),
        ({"retry_after": "Tue, 14 Nov 2023 22:13:23 GMT"}, 3),  # of the wall clock, 1,700,000,000
        ({"retry_after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0),
        ({"retry_after": "soon"}, 0),
        ({"retry_after": "-3"}, 0),
    ],
)
def test_retry_after_is_waited_for_with_the_drawn_wait_on_top(headers: dict[str, str], seconds: float) -> None:
    for draw in (0.0, 1.0):
        bench = Bench(iter([_problem(429, "rate-limited", **headers), OK]), Retry(base_seconds=0.25), draw)
        bench.run(bench.exchange.ask(SAFE))
        assert bench.pauses == [seconds + 0.25 * draw]


def test_the_deadline_bounds_all_attempts_and_waits_together() -> None:
    bench = Bench(repeat(answer(503)), Retry(deadline_seconds=30, base_seconds=1, cap_seconds=8))
    began = bench.now
    with pytest.raises(errors.DeadlineExceeded) as caught:
        bench.run(bench.exchange.ask(SAFE))
    assert isinstance(caught.value.__cause__, errors.ServerFault)
    assert bench.now - began <= 30
    assert bench.pauses == [1, 2, 4, 8, 8]  # the next would end after 31 s, so nothing is waited for


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([NEVER_ARRIVED], False),
        ([_problem(429, "rate-limited")], False),
        ([LOST, NEVER_ARRIVED], True),
        ([answer(503), NEVER_ARRIVED], True),
    ],
)
def test_a_deadline_says_whether_any_attempt_may_have_been_carried_out(
    outcomes: list[Outcome], *, expected: bool
) -> None:
    bench = Bench(chain(outcomes, repeat(outcomes[-1])), Retry(deadline_seconds=5))
    with pytest.raises(errors.DeadlineExceeded) as caught:
        bench.run(bench.exchange.ask(SAFE))
    assert caught.value.may_have_arrived is expected
    assert pickle.loads(pickle.dumps(caught.value)).may_have_arrived is expected  # noqa: S301 - our own bytes


def test_a_retry_after_beyond_the_deadline_is_not_waited_for() -> None:
    bench = Bench(iter([_problem(429, "rate-limited", retry_after="31")]), Retry(deadline_seconds=30))
    with pytest.raises(errors.DeadlineExceeded) as caught:
        bench.run(bench.exchange.ask(SAFE))
    assert isinstance(caught.value.__cause__, errors.RateLimited)
    assert caught.value.__cause__.retry_after_seconds == 31
    assert bench.pauses == []


def test_an_attempt_gets_no_more_time_than_is_left() -> None:
    bench = Bench(iter([LOST, LOST, OK]), Retry(deadline_seconds=5, attempt_seconds=3, base_seconds=1.5))
    bench.run(bench.exchange.ask(SAFE))
    assert [step.timeout_seconds for step in bench.sent] == [3, 3, 0.5]


def test_every_repetition_sends_the_same_bytes_under_one_correlation_id() -> None:
    bench = Bench(iter([LOST, LOST, OK, OK]))
    bench.run(bench.exchange.ask(SAFE))
    bench.run(bench.exchange.ask(SAFE))
    first, second, third, other = (step.call for step in bench.sent)
    assert first == second == third
    assert first.headers["x-request-id"] != other.headers["x-request-id"]


def test_each_repetition_is_told_before_its_wait() -> None:
    bench = Bench(iter([LOST, answer(503), OK]), draw=0.5)
    bench.run(bench.exchange.ask(SAFE))
    assert [(told.attempt, told.wait_seconds, type(told.error)) for told in bench.repeats] == [
        (1, 0.1, errors.LostAnswer),
        (2, 0.2, errors.ServerFault),
    ]


def test_an_answer_that_is_neither_a_success_nor_an_error_is_not_the_services() -> None:
    bench = Bench(iter([answer(302)]))
    with pytest.raises(errors.UnreadableAnswer):
        bench.run(bench.exchange.ask(SAFE))
