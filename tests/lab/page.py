"""The page of a run: time from left to right, the load, the backlog, the faults, and the verdict below. One file."""

from collections.abc import Callable, Iterable, Sequence
from html import escape
from itertools import pairwise
from typing import Any

from .record import Happened, Record, Sample

_WIDTH, _LEFT, _CHART, _LANE = 1200, 190, 90, 18
_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1240px; color: #1b1f24; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem }
table { border-collapse: collapse; width: 100% } td, th { text-align: left; padding: .25rem .6rem; vertical-align: top }
tr { border-top: 1px solid #d8dee4 } .held { color: #116329 } .broken { color: #a40e26; font-weight: 600 }
svg text { font: 11px system-ui, sans-serif; fill: #444c56 } .axis { stroke: #d8dee4 }
.line { fill: none; stroke-width: 1.5 } .a { stroke: #0550ae } .b { stroke: #bc4c00 }
.fault { fill: #8250df; opacity: .75 } .signup { fill: #cf222e; opacity: .75 } .absent { fill: #d8dee4 }
code { font-size: 12px } summary { cursor: pointer }
"""


def render(record: Record) -> str:
    """The whole page; needs nothing from elsewhere."""
    word = "every promise held" if record.held else "a promise was broken"
    css = "held" if record.held else "broken"
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8>",
            f"<title>Fault lab, seed {record.seed}: {word}</title><style>{_STYLE}</style>",
            f"<h1>Fault lab, seed {record.seed}, {record.minutes:g} minutes: <span class={css}>{word}</span></h1>",
            f"<p>{len(record.happened)} faults; {_drained(record)}; {escape(record.machine)}.</p>",
            _picture(record),
            "<p>Violet: a fault. Red: one during which signup need not say yes. Grey: not had on this machine.</p>",
            "<h2>Verdict</h2>",
            _verdicts(record),
            "<h2>Load</h2>",
            _load(record),
            "<h2>Faults</h2>",
            _faults(record),
            "</html>",
        ]
    )


def _drained(record: Record) -> str:
    if record.drain_seconds is None:
        return "work was left when the time to drain was over"
    return f"all work was done {record.drain_seconds:g} s after the load ended"


def _picture(record: Record) -> str:
    end = max([record.load_seconds, *(sample.at for sample in record.samples)], default=1.0) or 1.0

    def x(at: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - 10) * min(1.0, max(0.0, at / end)), 1)

    lanes = sorted({each.target for each in record.happened})
    charts = (
        ("a second", (("accepted", "a", _rates(record.samples, lambda s: s.accepted)),
                      ("mails taken", "b", _rates(record.samples, lambda s: s.copies)))),
        ("backlog", (("signup", "a", [(s.at, s.signup_backlog) for s in record.samples]),
                     ("mail", "b", [(s.at, s.mail_backlog) for s in record.samples]))),
    )  # fmt: skip
    parts, top = [], 20
    for title, lines in charts:
        parts.append(_chart(title, lines, top, x))
        top += _CHART + 24
    for number, lane in enumerate(lanes):
        parts.append(_lane(lane, [each for each in record.happened if each.target == lane], top + number * _LANE, x))
    height = top + len(lanes) * _LANE + 24
    ticks = "".join(
        f"<line class=axis x1={x(at)} x2={x(at)} y1=14 y2={height - 20} />"
        f"<text x={x(at)} y={height - 6}>{at:g} s</text>"
        for at in _ticks(end)
    )
    ended = f"<text x={x(record.load_seconds)} y=10>load ends</text>"
    return f'<svg viewBox="0 0 {_WIDTH} {height}" width="100%" role=img>{ticks}{ended}{"".join(parts)}</svg>'


Points = Sequence[tuple[float, float | None]]
Place = Callable[[float], float]


def _rates(samples: Sequence[Sample], count: Callable[[Sample], int]) -> Points:
    return [
        (later.at, (count(later) - count(earlier)) / max(0.1, later.at - earlier.at))
        for earlier, later in pairwise(samples)
    ]


def _chart(title: str, lines: Iterable[tuple[str, str, Points]], top: int, x: Place) -> str:
    lines = list(lines)
    most = max([value for *_, points in lines for _, value in points if value is not None], default=1.0) or 1.0
    parts = [f"<text x=0 y={top + 12}>{title}, up to {most:,.0f}</text>"]
    for number, (name, css, points) in enumerate(lines):
        key = top + 30 + 16 * number
        parts.append(f"<text x=0 y={key}>{name}</text>")
        parts.append(f'<line class="line {css}" x1=90 x2=120 y1={key - 4} y2={key - 4} />')
        path, is_drawing = [], False
        for at, value in points:
            if value is None:
                is_drawing = False
                continue
            path.append(f"{'L' if is_drawing else 'M'}{x(at)},{round(top + _CHART * (1 - value / most), 1)}")
            is_drawing = True
        parts.append(f'<path class="line {css}" d="{"".join(path)}" />')
    return "".join(parts)


def _lane(name: str, faults: Sequence[Happened], top: int, x: Place) -> str:
    bars = [
        f'<rect class="{_css(each)}" x={x(each.began)} y={top + 3} height={_LANE - 6}'
        f" width={max(3.0, round(x(each.ended or each.began) - x(each.began), 1))}>"
        f"<title>{escape(_about(each))}</title></rect>"
        for each in faults
    ]
    return f"<text x=0 y={top + 13}>{escape(name)}</text>{''.join(bars)}"


def _css(each: Happened) -> str:
    return "absent" if not each.was_had else "signup" if each.disturbs_signup else "fault"


def _about(each: Happened) -> str:
    parameters = ", ".join(f"{name} {value}" for name, value in each.planned.parameters.items())
    return f"{each.planned.fault}{f' ({parameters})' if parameters else ''}"


def _ticks(end: float) -> list[float]:
    step = next((step for step in (10, 30, 60, 120, 300) if end / step <= 12), 600)
    return [float(step * n) for n in range(int(end // step) + 1)]


def _verdicts(record: Record) -> str:
    rows = []
    for verdict in record.verdicts:
        word = "held" if verdict.held else f"broken, {len(verdict.violations)} rows"
        found = "".join(
            f"<li><code>{escape(each.row)}</code> {escape(each.what)}</li>" for each in verdict.violations[:50]
        )
        rows.append(
            f"<tr><td>{verdict.promise}<td class={'held' if verdict.held else 'broken'}>{word}"
            f"<td>{escape(verdict.text)}{f'<ul>{found}</ul>' if found else ''}"
        )
    return f"<table>{''.join(rows)}</table>"


def _load(record: Record) -> str:
    rows = "".join(f"<tr><td>{escape(name)}<td>{escape(_number(value))}" for name, value in record.load.items())
    notes = "".join(f"<tr><td>note at {at:.1f} s<td>{escape(text)}" for at, text in record.notes)
    return f"<table>{rows}{notes}</table>"


def _number(value: Any) -> str:
    return ", ".join(f"{count} {name}" for name, count in value.items()) if isinstance(value, dict) else str(value)


def _faults(record: Record) -> str:
    rows = "".join(
        f"<tr><td>{each.began:.1f} s<td>{(each.ended or each.began) - each.began:.1f} s<td>{escape(_about(each))}"
        f"<td>{escape(each.target)}<td>{'' if each.was_had else 'not had: '}{escape(each.problem or '')}"
        for each in record.happened
    )
    return f"<table><tr><th>at<th>lasted<th>fault<th>of<th></tr>{rows}</table>"
