"""How processor time is added up, and how the ledger is compared with the gateway's record."""

import os
import time

import pytest

from tests.benchmarks import books, processor_time, scale
from tests.benchmarks.load import Load
from tests.benchmarks.options import Options
from tests.benchmarks.processor_time import Stat


def stat_line(name: str, parent: int, *ticks: int) -> str:
    return f"77 ({name}) S {parent} 77 77 0 -1 0 1 2 3 4 {' '.join(str(tick) for tick in ticks)} 20 0 1 0 100"


def test_a_process_name_may_hold_anything() -> None:
    hertz = os.sysconf("SC_CLK_TCK")
    assert processor_time.parse(stat_line("a) S 1 (b", 5, hertz, hertz, 0, 2 * hertz)) == Stat(5, 4.0)


def test_a_tree_is_its_living_descendants_and_nobody_else() -> None:
    stats = {1: Stat(0, 100.0), 10: Stat(1, 1.0), 11: Stat(10, 2.0), 12: Stat(11, 4.0), 20: Stat(1, 8.0)}
    assert processor_time.seconds_of_trees([10], stats) == 7
    assert processor_time.seconds_of_trees([11, 20], stats) == 14


def test_the_time_of_this_process_is_what_the_system_says() -> None:
    read = processor_time.read_stats()[os.getpid()].seconds
    assert read == pytest.approx(time.process_time() + sum(os.times()[2:4]), abs=0.5)


def test_a_cost_is_milliseconds_for_each_unit_of_work() -> None:
    assert processor_time.per_unit({"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 2.0}, 500) == {"a": 2.0, "b": 0.0}


def test_a_mail_that_the_ledger_does_not_explain_is_counted() -> None:
    mails = [("t-1", "sent", 0), ("t-2", "sent", 0), ("t-3", "sent", 1), ("t-4", "sent", 0), ("t-5", "uncertain", 1)]
    kept = books.Books(6, mails)
    copies = ["t-1", "t-2", "t-2", "t-3", "t-3", "t-5", "other-1", "t-10"]
    assert books.compare_books(kept, copies, "t") == {
        "accepted": 6,
        "lost": 1,
        "twice": 1,  # t-2
        "resent": 1,  # t-3
        "wrong": 2,  # t-4 is called sent, and t-10 is not known
    }


def test_generators_that_ran_side_by_side_count_together() -> None:
    both = scale.combine([Load(10, 2.0, 0, 1.0, 5.0), Load(20, 3.0, 1, 2.0, 4.0)])
    assert both == Load(30, 3.0, 1, 2.0, 5.0)
    assert both.per_second == 10


def test_what_is_said_goes_before_the_default() -> None:
    assert Options(quick=True).choose(None, full=5, quick=1) == 1
    assert Options().choose(None, full=5, quick=1) == 5
    assert Options(quick=True).choose(3, full=5, quick=1) == 3
