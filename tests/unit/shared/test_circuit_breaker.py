"""What a circuit breaker tells operators."""

from structlog.testing import capture_logs

from shared.worker.circuit_breaker import Breaker, BreakerPolicy


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_each_change_of_a_breaker_is_one_line_with_the_reason() -> None:
    clock = Clock()
    breaker = Breaker("smtp", BreakerPolicy(faults_to_open=3), clock=clock)
    with capture_logs() as logs:
        for _ in range(9):
            breaker.faulted("TLS failed")
        clock.now = 1.0
        assert breaker.allowance(5) == 1
        breaker.faulted("timed out")
        clock.now = 3.0
        assert breaker.allowance(5) == 1
        breaker.succeeded()
        breaker.succeeded()
    assert [(line["event"], line.get("reason")) for line in logs] == [
        ("breaker_fault", "TLS failed"),
        ("breaker_opened", "TLS failed"),
        ("breaker_half_open", "TLS failed"),
        ("breaker_fault", "timed out"),
        ("breaker_opened", "timed out"),
        ("breaker_half_open", "timed out"),
        ("breaker_closed", None),
    ]
    assert {line["breaker"] for line in logs} == {"smtp"}


def test_a_kind_of_fault_that_goes_on_is_logged_once_in_ten_minutes() -> None:
    clock = Clock()
    breaker = Breaker("smtp", clock=clock)
    with capture_logs() as logs:
        for second in range(1800):
            clock.now = float(second)
            breaker.faulted("connection lost at MAIL")
            breaker.succeeded()
    assert [(line["event"], line["repeated"]) for line in logs] == [
        ("breaker_fault", 0),
        ("breaker_fault", 599),
        ("breaker_fault", 599),
    ]


def test_faults_in_a_row_are_counted_from_the_first_one_until_a_success() -> None:
    breaker = Breaker("smtp")
    assert breaker.faults_in_a_row == 0
    breaker.faulted("connection lost")
    assert breaker.faults_in_a_row == 1
    breaker.succeeded()
    assert breaker.faults_in_a_row == 0
