"""What the overview says of each stage, from what both services report. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from shared.audit.flow import Flow

from .mount import PATH
from .picture import Box, Line, sparkline
from .views import count, lasting, rate

# History entries that are a step of the way.
SIGNED_UP = ("user.signed_up", "user.imported")
VERIFIED = ("user.verified",)
HANDED_OVER = ("outbox.delivered",)
ACCEPTED = ("mail.accepted",)
SENT = ("mail.sent",)
_WAITS_LONG_SECONDS = 60
_SILENT_SECONDS = 15

Json = Mapping[str, Any]


def boxes_of(own: Flow, mail: Json | None, gateways: Json | None) -> list[Box]:
    """From the signup to the gateway. Without the mail service its boxes say that they are not known."""
    own_rates = {"hour": asdict(own.hour), "day": asdict(own.day)}
    outbox = next(stage for stage in own.stages if stage.name == "mail")
    others = [stage for stage in own.stages if stage.name != "mail"]
    return [
        _signup_box(own_rates),
        _outbox_box(asdict(outbox), sum(stage.dead or 0 for stage in others), own, own_rates),
        _queue_box(mail),
        _gateway_box(mail, gateways),
    ]


def _signup_box(rates: Json) -> Box:
    last_hour = round(sum(_summed(rates["hour"], SIGNED_UP)) * rates["hour"]["part_seconds"] / 60)
    verified = rate_of(rates, VERIFIED)
    marks = [(f"{rate(verified)} verified / min", "good")]
    headline, lines = f"{count(last_hour)} in the last hour", _lines(rates, SIGNED_UP)
    return Box("Signups", f"{PATH}/people", headline, rate_of(rates, SIGNED_UP), marks, lines)


def _outbox_box(stage: Json, other_dead: int, own: Flow, rates: Json) -> Box:
    marks = [_oldest(stage["oldest_seconds"]), _dead(stage["dead"], "dead"), _breaker(stage["breaker"])]
    if other_dead:
        marks.append((f"{count(other_dead)} dead of other effects", "bad"))
    if own.worker_seconds is None or own.worker_seconds > _SILENT_SECONDS:
        marks.insert(0, (f"worker silent: {lasting(own.worker_seconds)}", "bad"))
    headline = f"{count(stage['waiting'] + stage['in_flight'])} waiting"
    path, lines = f"{PATH}/outbox?effect=mail", _lines(rates, HANDED_OVER)
    return Box("Outbox", path, headline, rate_of(rates, HANDED_OVER), marks, lines, _mood(marks))


def _unknown(title: str, path: str) -> Box:
    return Box(title, path, "not known", None, [("the mail service is silent", "warn")], mood="warn")


def _queue_box(mail: Json | None) -> Box:
    if mail is None:
        return _unknown("Mail queue", f"{PATH}/mails")
    lanes = [stage for stage in mail["stages"] if stage["name"] != "uncertain"]
    uncertain = next(stage for stage in mail["stages"] if stage["name"] == "uncertain")
    oldest = max((lane["oldest_seconds"] for lane in lanes if lane["oldest_seconds"] is not None), default=None)
    failed = mail["states"].get("failed", 0)
    marks = [_oldest(oldest), _dead(uncertain["waiting"], "uncertain"), _dead(failed, "failed", "")]
    if mail["worker_seconds"] is None or mail["worker_seconds"] > _SILENT_SECONDS:
        marks.append((f"worker silent: {lasting(mail['worker_seconds'])}", "bad"))
    waiting = sum(lane["waiting"] + lane["in_flight"] for lane in lanes)
    path = f"{PATH}/mails?state=queued&state=sending&state=deferred"
    lines = _lines(mail, ACCEPTED)
    return Box("Mail queue", path, f"{count(waiting)} waiting", rate_of(mail, ACCEPTED), marks, lines, _mood(marks))


def _gateway_box(mail: Json | None, gateways: Json | None) -> Box:
    if gateways is None:
        return _unknown("Gateways", f"{PATH}/gateways")
    marks = [
        (
            f"{gateway['name']}: {gateway['breaker'].replace('_', ' ')}, {gateway['in_flight']} in flight",
            "good" if gateway["breaker"] == "closed" else "bad",
        )
        for gateway in gateways["items"][:4]
    ]
    open_ones = sum(gateway["breaker"] != "closed" for gateway in gateways["items"])
    known = len(gateways["items"])
    headline = (
        f"{open_ones} of {known} breakers open" if open_ones else f"{known} taking mails" if known else "none known"
    )
    rates = mail or {}
    return Box("Gateways", f"{PATH}/gateways", headline, rate_of(rates, SENT), marks, _lines(rates, SENT), _mood(marks))


def _oldest(seconds: float | None) -> tuple[str, str]:
    if seconds is None or seconds < 1:
        return "nothing overdue", "good"
    return f"oldest due for {lasting(seconds)}", "warn" if seconds >= _WAITS_LONG_SECONDS else ""


def _dead(number: int | None, what: str, mood: str = "bad") -> tuple[str, str]:
    return f"{count(number or 0)} {what}", mood if number else "good"


def _breaker(state: str | None) -> tuple[str, str]:
    if state is None:
        return "breaker not known", ""
    return f"breaker {state.replace('_', ' ')}", "good" if state == "closed" else "bad"


def _mood(marks: Sequence[tuple[str, str]]) -> str:
    moods = {mood for _, mood in marks}
    return next((mood for mood in ("bad", "warn") if mood in moods), "good")


def rate_of(flow: Json, kinds: Sequence[str]) -> float | None:
    """What the last ten minutes add up to, a minute; None when it is not known."""
    if "hour" not in flow:
        return None
    parts = int(600 / flow["hour"]["part_seconds"])
    return sum(_summed(flow["hour"], kinds)[-parts:]) / parts


def _lines(flow: Json, kinds: Sequence[str]) -> list[Line]:
    return [sparkline(f"last {name}", _summed(flow[name], kinds)) for name in ("hour", "day") if name in flow]


def _summed(rates: Json, kinds: Sequence[str]) -> list[float]:
    found = [rates["kinds"][kind] for kind in kinds if kind in rates["kinds"]]
    return [sum(numbers) for numbers in zip(*found, strict=True)] if found else [0.0] * rates["parts"]


def rows_of(own: Flow, mail: Json | None, gateways: Json | None) -> list[Json]:
    """The same as a table, with every effect, lane and gateway."""
    rows: list[Json] = [
        {**asdict(stage), "what": "outbox", "path": f"{PATH}/outbox?effect={stage.name}"} for stage in own.stages
    ]
    for stage in mail["stages"] if mail else ():
        path = f"{PATH}/uncertain" if stage["name"] == "uncertain" else f"{PATH}/mails"
        rows.append({**stage, "what": "queue", "path": path})
    gateway_rows = (
        {
            "what": "gateway",
            "name": gateway["name"],
            "path": f"{PATH}/gateways",
            "waiting": None,
            "in_flight": gateway["in_flight"],
            "oldest_seconds": None,
            "dead": gateway.get("failed"),
            "breaker": gateway["breaker"],
            "last_fault": gateway["last_fault"],
        }
        for gateway in (gateways["items"] if gateways else ())
    )
    return [*rows, *gateway_rows]
