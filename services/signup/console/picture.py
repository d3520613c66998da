"""The way of the data as a picture: where each box and arrow stands, and the points of each line. Pure.

The picture is drawn twice, from left to right and from top to bottom: the style sheet shows the one that fits.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

BOX_WIDTH, BOX_HEIGHT = 236, 196
_GAP, _MARGIN = 44, 2
LINE_WIDTH, LINE_HEIGHT = 100, 34


@dataclass(frozen=True)
class Line:
    """A sparkline: its points, and the rate at its highest."""

    name: str
    points: str
    area: str
    highest: float


@dataclass(frozen=True)
class Box:
    """One stage. `marks` are lines of text with a mood (`good`, `warn`, `bad` or none)."""

    title: str
    path: str
    headline: str
    rate: float | None
    marks: Sequence[tuple[str, str]] = ()
    lines: Sequence[Line] = ()
    mood: str = "good"


@dataclass(frozen=True)
class Placed:
    box: Box
    x: int
    y: int


@dataclass(frozen=True)
class Picture:
    width: int
    height: int
    boxes: Sequence[Placed]
    # From (x1, y1) to (x2, y2).
    arrows: Sequence[tuple[int, int, int, int]] = field(default=())


def side_by_side(boxes: Sequence[Box]) -> Picture:
    step = BOX_WIDTH + _GAP
    placed = [Placed(box, _MARGIN + step * place, _MARGIN) for place, box in enumerate(boxes)]
    middle = _MARGIN + BOX_HEIGHT // 2
    arrows = [(at.x + BOX_WIDTH + 4, middle, at.x + step - 6, middle) for at in placed[:-1]]
    width = step * len(boxes) - _GAP + 2 * _MARGIN
    return Picture(width, BOX_HEIGHT + 2 * _MARGIN, placed, arrows)


def one_below_the_other(boxes: Sequence[Box]) -> Picture:
    step = BOX_HEIGHT + _GAP
    placed = [Placed(box, _MARGIN, _MARGIN + step * place) for place, box in enumerate(boxes)]
    middle = _MARGIN + BOX_WIDTH // 2
    arrows = [(middle, at.y + BOX_HEIGHT + 4, middle, at.y + step - 6) for at in placed[:-1]]
    return Picture(BOX_WIDTH + 2 * _MARGIN, step * len(boxes) - _GAP + 2 * _MARGIN, placed, arrows)


def sparkline(name: str, values: Sequence[float], *, width: int = LINE_WIDTH, height: int = LINE_HEIGHT) -> Line:
    """The values from left to right, the highest of them at the top; a flat line when there are none."""
    highest = max(values, default=0.0)
    step = width / max(1, len(values) - 1)
    low = height - 1
    points = [
        f"{place * step:.1f},{low - (value / highest if highest else 0) * (height - 3):.1f}"
        for place, value in enumerate(values or (0.0, 0.0))
    ]
    return Line(name, " ".join(points), " ".join([f"0,{height}", *points, f"{width},{height}"]), highest)


@dataclass(frozen=True)
class Share:
    """A part of a bar that is 1,000 wide."""

    name: str
    number: int
    x: float
    width: float


def shares(numbers: Mapping[str, int]) -> list[Share]:
    """Parts of a bar in the order given, without those of nothing. The smallest can still be seen."""
    total = sum(numbers.values())
    if not total:
        return []
    least = [max(8.0, 1000 * number / total) if number else 0.0 for number in numbers.values()]
    scale, x, found = 1000 / sum(least), 0.0, list[Share]()
    for (name, number), width in zip(numbers.items(), least, strict=True):
        if number:
            found.append(Share(name, number, round(x, 1), round(width * scale, 1)))
            x += width * scale
    return found
