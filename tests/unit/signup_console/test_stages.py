"""What the overview says of each stage."""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from services.signup.console.picture import Box
from services.signup.console.stages import boxes_of, rate_of, rows_of
from services.signup.console.views import NOTHING
from shared.audit.flow import Flow, Rates, StageNow


def _rates(part_seconds: int, parts: int, **kinds: float) -> Rates:
    named = {kind.replace("_", ".", 1): [number] * parts for kind, number in kinds.items()}
    return Rates(part_seconds, parts, named, estimated=False)


HOUR = _rates(120, 30, user_signed_up=2.0, user_imported=1.0, outbox_delivered=3.0)
OWN = Flow(
    at=datetime.now(UTC),
    worker_seconds=1.0,
    stages=[
        StageNow("mail", 4, 1, 0.2, dead=0, breaker="closed"),
        StageNow("event", 0, 0, None, dead=0, breaker="closed"),
    ],
    states={},
    hour=HOUR,
    day=_rates(1800, 48),
)
MAIL: dict[str, Any] = {
    "worker_seconds": 1.0,
    "stages": [asdict(StageNow("fast", 2, 1, 3.0)), asdict(StageNow("uncertain", 0, 0, None))],
    "states": {},
    "hour": asdict(_rates(120, 30, mail_accepted=3.0, mail_sent=2.5)),
    "day": asdict(_rates(1800, 48)),
}
GATEWAYS: dict[str, Any] = {
    "items": [{"name": "primary", "breaker": "closed", "in_flight": 1, "failed": 0, "last_fault": None}]
}


def _boxes(own: Flow = OWN, mail: dict[str, Any] | None = MAIL) -> list[Box]:
    return boxes_of(own, mail, GATEWAYS if mail else None)


def _texts(box: Box) -> list[str]:
    return [text for text, _ in box.marks]


def test_the_boxes_follow_the_data_and_a_quiet_day_is_all_good() -> None:
    boxes = _boxes()
    assert [box.title for box in boxes] == ["Signups", "Outbox", "Mail queue", "Gateways"]
    assert [box.headline for box in boxes] == ["180 in the last hour", "5 waiting", "3 waiting", "1 taking mails"]
    assert [box.rate for box in boxes] == [3.0, 3.0, 3.0, 2.5]
    assert {box.mood for box in boxes} == {"good"}


def test_a_rate_is_that_of_the_last_ten_minutes() -> None:
    rising = Rates(120, 30, {"mail.sent": [0.0] * 25 + [10.0] * 5}, estimated=False)
    assert rate_of({"hour": asdict(rising)}, ("mail.sent",)) == 10.0
    assert rate_of({}, ("mail.sent",)) is None


def test_the_dead_of_other_effects_are_told_apart() -> None:
    stages = [replace(OWN.stages[0], dead=2), replace(OWN.stages[1], dead=3)]
    outbox = _boxes(replace(OWN, stages=stages))[1]
    assert {"2 dead", "3 dead of other effects"} <= set(_texts(outbox))
    assert outbox.mood == "bad"


def test_a_silent_worker_an_open_breaker_and_a_long_wait_are_seen() -> None:
    assert f"worker silent: {NOTHING}" in _texts(_boxes(replace(OWN, worker_seconds=None))[1])
    assert "worker silent: 20 s" in _texts(_boxes(mail={**MAIL, "worker_seconds": 20.0})[2])
    open_breaker = _boxes(replace(OWN, stages=[replace(OWN.stages[0], breaker="half_open")]))[1]
    assert "breaker half open" in _texts(open_breaker)
    assert open_breaker.mood == "bad"
    late = _boxes(replace(OWN, stages=[replace(OWN.stages[0], oldest_seconds=90.0)]))[1]
    assert "oldest due for 2 min" in _texts(late)
    assert late.mood == "warn"


def test_what_is_uncertain_or_failed_marks_the_queue() -> None:
    stages = [MAIL["stages"][0], asdict(StageNow("uncertain", 2, 0, None))]
    queue = _boxes(mail={**MAIL, "stages": stages, "states": {"failed": 1}})[2]
    assert "2 uncertain" in _texts(queue)
    assert "1 failed" in _texts(queue)
    assert queue.mood == "bad"


def test_without_the_mail_service_its_boxes_are_not_known_and_signups_half_is() -> None:
    boxes = _boxes(mail=None)
    assert [box.headline for box in boxes] == ["180 in the last hour", "5 waiting", "not known", "not known"]
    assert [box.rate for box in boxes[2:]] == [None, None]
    assert [row["name"] for row in rows_of(OWN, None, None)] == ["mail", "event"]


def test_the_table_has_every_effect_lane_and_gateway() -> None:
    rows = rows_of(OWN, MAIL, GATEWAYS)
    assert [(row["what"], row["name"]) for row in rows] == [
        ("outbox", "mail"),
        ("outbox", "event"),
        ("queue", "fast"),
        ("queue", "uncertain"),
        ("gateway", "primary"),
    ]
