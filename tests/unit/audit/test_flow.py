"""Rates are exact while a part of the time holds little, and estimated from short spans of it when it holds much."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.audit.flow import Rates, Row, Span, Window, rates_of, spans_of

WINDOW = Window(part_seconds=120, parts=3, exact=300)
NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
PARTS = [Span(n, NOW - timedelta(seconds=120 * (3 - n)), 120) for n in range(3)]


def _row(n: int, kind: str, entries: int, *, after_seconds: float = 119) -> dict[str, Any]:
    return {"n": n, "kind": kind, "entries": entries, "last_at": PARTS[n].begins + timedelta(seconds=after_seconds)}


def _rates(first: list[dict[str, Any]], entries_in: Callable[[Span], int]) -> tuple[list[Span], Rates]:
    rows: list[Row] = [*first]
    spans = list(spans_of(PARTS, rows, WINDOW))
    more: list[Row] = [{"n": k, "kind": "sent", "entries": entries_in(span)} for k, span in enumerate(spans)]
    return spans, rates_of(rows, spans, more, WINDOW)


def test_few_entries_are_counted() -> None:
    spans, rates = _rates([_row(0, "sent", 10), _row(2, "sent", 1), _row(2, "failed", 4)], lambda _: 0)
    assert not spans
    assert rates == Rates(120, 3, {"sent": [5.0, 0.0, 0.5], "failed": [0.0, 0.0, 2.0]}, estimated=False)


@pytest.mark.parametrize("a_second", [3, 50, 1000])
def test_a_steady_stream_is_estimated_as_it_is(a_second: int) -> None:
    spans, rates = _rates(
        [_row(1, "sent", 300, after_seconds=300 / a_second)], lambda span: round(span.seconds * a_second)
    )
    assert [span.n for span in spans] == [1, 1, 1]
    assert rates.estimated
    assert rates.kinds["sent"] == [0.0, pytest.approx(a_second * 60, rel=0.1), 0.0]


def test_a_span_is_long_enough_for_a_batch_and_lies_within_its_part() -> None:
    spans, _ = _rates([_row(1, "sent", 300, after_seconds=0.0001)], lambda _: 0)
    for span in spans:
        assert span.seconds >= 0.05
        assert PARTS[1].begins < span.begins
        assert span.begins + timedelta(seconds=span.seconds) < PARTS[2].begins


def test_a_burst_that_no_span_meets_counts_at_least_what_was_read() -> None:
    _, rates = _rates([_row(1, "sent", 300, after_seconds=1)], lambda _: 0)
    assert rates.kinds["sent"] == [0.0, 150.0, 0.0]


def test_all_kinds_of_a_busy_part_are_estimated_alike() -> None:
    first: list[Row] = [_row(0, "accepted", 150, after_seconds=10), _row(0, "sent", 150, after_seconds=10)]
    spans = list(spans_of(PARTS, first, WINDOW))
    more: list[Row] = [
        {"n": k, "kind": kind, "entries": 25} for k in range(len(spans)) for kind in ("accepted", "sent")
    ]
    rates = rates_of(first, spans, more, WINDOW)
    assert rates.kinds["accepted"] == rates.kinds["sent"]
    assert rates.kinds["sent"][0] == pytest.approx(25 / spans[0].seconds * 60)
