"""The benchmarks' arithmetic; their measurements are not tested."""

import pytest

from tests.benchmarks import enumeration, report
from tests.benchmarks.client import take_answer


def test_a_ratio_is_the_median_of_the_rounds_not_the_ratio_of_the_medians() -> None:
    row = report.compare("b", "m", [10, 20, 90], "y", [100, 50, 100], "/s", at_least=0.4)
    assert row.ratio == pytest.approx(0.4)
    assert row.met is True
    assert (row.value, row.yardstick_value) == (20, 100)


def test_a_miss_is_called_a_miss() -> None:
    assert "MISSED" in report.table([report.compare("b", "m", [1], "y", [10], "/s", at_least=0.4)])


def test_a_percentile_is_a_measured_value() -> None:
    hundred = [float(n) for n in range(100, 0, -1)]
    assert report.percentile(hundred, 50) == 50
    assert report.percentile(hundred, 99) == 99
    assert report.percentile([7.0], 99) == 7


def test_answers_are_taken_one_by_one_however_they_are_split() -> None:
    answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\nok"
    buffer = bytearray()
    for byte in answer[:-1]:
        buffer.append(byte)
        assert take_answer(buffer) is None
    buffer += answer[-1:] + answer
    assert [take_answer(buffer), take_answer(buffer), take_answer(buffer)] == [b"202", b"202", None]


def test_cliffs_delta_is_one_if_all_are_larger_and_zero_for_equal_samples() -> None:
    assert enumeration.cliffs_delta([3, 4], [1, 2]) == 1
    assert enumeration.cliffs_delta([1, 2], [3, 4]) == -1
    assert enumeration.cliffs_delta([1, 2, 2], [1, 2, 2]) == 0
    assert enumeration.cliffs_delta([1, 3], [2, 2]) == 0


def test_the_interval_contains_the_difference_and_excludes_zero_if_all_are_larger() -> None:
    low, high = enumeration.interval_of_difference([float(n) for n in range(10, 30)], [float(n) for n in range(20)])
    assert 0 < low <= 10 <= high < 20
