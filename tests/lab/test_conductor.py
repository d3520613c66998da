"""Faults begin and end in their time; one that cannot be had, or does not end at once, is not hidden."""

import time
from typing import Any

import pytest

from . import conductor as conducting
from .conductor import Conductor
from .record import Record
from .schedule import Planned


class SiteStandIn:
    """What a fault of the gateway acts upon."""

    class _Gateway:
        behavior: Any = None

    def __init__(self) -> None:
        self.gateway = self._Gateway()
        self.supervised = 0
        self.stack = self
        self.faketime = None
        self.failures_left = 0
        self.refuses: tuple[str, ...] = ()
        self.receiver = self

    @property
    def fails(self) -> str | None:
        return None

    @fails.setter
    def fails(self, value: str | None) -> None:
        if value in self.refuses:
            raise OSError("nothing to break")
        if value is None and self.failures_left:
            self.failures_left -= 1
            raise OSError("not yet")

    def supervise(self) -> None:
        self.supervised += 1


@pytest.fixture
def record() -> Record:
    return Record(1, 1, began_at=time.time())


def _conduct(record: Record, site: SiteStandIn, planned: Planned, seconds: float = 0.0) -> list[str]:
    said: list[str] = []
    Conductor(site, record, said.append).conduct([planned], seconds)  # type: ignore[arg-type]
    return said


def test_a_fault_begins_ends_and_is_recorded(record: Record) -> None:
    planned = Planned(0.0, "gateway drops", {"phase": "dot", "share": 1.0}, 0.1)
    site = SiteStandIn()
    said = _conduct(record, site, planned)
    (happened,) = record.happened
    assert (happened.planned, happened.target, happened.problem) == (planned, "gateway", None)
    assert happened.ended is not None
    assert happened.ended > happened.began
    assert site.gateway.behavior is None
    assert len(said) == 2


def test_a_fault_that_cannot_be_had_is_reported_and_not_begun(record: Record) -> None:
    said = _conduct(record, SiteStandIn(), Planned(0.0, "clock steps", {"process": "mail-api", "seconds": 5}, 1.0))
    assert record.not_had() == {"clock steps": "libfaketime is not installed"}
    assert record.outages() == []
    assert "not had" in said[0]


def test_a_fault_whose_end_fails_is_ended_again(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conducting, "_END_AGAIN_SECONDS", 0.0)
    site = SiteStandIn()
    site.failures_left = 2
    _conduct(record, site, Planned(0.0, "subscriber fails", {"how": "500"}, 0.0))
    (happened,) = record.happened
    assert happened.ended is not None
    assert site.failures_left == 0


def test_a_fault_that_finds_nothing_to_break_says_so(record: Record) -> None:
    site = SiteStandIn()
    site.refuses = ("500",)
    _conduct(record, site, Planned(0.0, "subscriber fails", {"how": "500"}, 0.0))
    assert "did not begin whole" in str(record.happened[0].problem)
    assert record.happened[0].ended is not None
