"""The record and the page of a run say what was thrown, what was not to be had, and what broke."""

from pathlib import Path

import orjson
import pytest

from .checker import judge
from .page import render
from .record import Happened, Record, Sample
from .schedule import draw_schedule
from .sound import changed, sound


@pytest.fixture
def record() -> Record:
    record = Record(7, 2, began_at=1000.0, load_seconds=120.0, drain_seconds=9.0)
    for planned in draw_schedule(7, 2):
        happened = Happened.of(planned, planned.make(), planned.at)
        happened.ended = planned.ends_at
        record.happened.append(happened)
    record.samples = [Sample(float(n), n, n, n, None if n == 3 else n, n) for n in range(120)]
    record.verdicts = judge(sound())
    return record


def test_the_page_has_each_fault_in_its_lane_and_each_promise(record: Record) -> None:
    page = render(record)
    assert page.count("<rect") == len(record.happened)
    assert all(f"<td>{verdict.promise}<td class=held>held" in page for verdict in record.verdicts)
    assert "every promise held" in page
    assert "seed 7" in page


def test_the_page_needs_nothing_from_elsewhere(record: Record) -> None:
    page = render(record)
    assert "http" not in page
    assert "<script" not in page


def test_a_broken_promise_is_shown_with_its_rows(record: Record) -> None:
    evidence = sound()
    changed(evidence, "copies", 0, answered=False)
    record.verdicts = judge(evidence)
    page = render(record)
    assert not record.held
    assert "a promise was broken" in page
    assert "no 250 left the gateway" in page


def test_a_fault_that_was_not_to_be_had_is_named_and_is_no_outage(record: Record) -> None:
    record.happened[0].was_had, record.happened[0].problem = False, "libfaketime is not installed"
    assert record.not_had() == {record.happened[0].planned.fault: "libfaketime is not installed"}
    assert len(record.outages()) == len(record.happened) - 1
    assert "not had: libfaketime is not installed" in render(record)


def test_a_record_keeps_the_seed_the_faults_and_the_verdict(record: Record, tmp_path: Path) -> None:
    record.write(tmp_path)
    kept = orjson.loads((tmp_path / "record.json").read_bytes())
    assert (kept["seed"], kept["minutes"], kept["held"]) == (7, 2, True)
    assert [each["planned"]["fault"] for each in kept["happened"]] == [each.fault for each in draw_schedule(7, 2)]
    assert {each["promise"] for each in kept["verdicts"]} == {verdict.promise for verdict in record.verdicts}


def test_a_run_without_a_verdict_did_not_hold(record: Record) -> None:
    record.verdicts = ()
    assert not record.held
