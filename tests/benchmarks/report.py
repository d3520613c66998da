"""Results, as ratios where there is a yardstick: the arithmetic and the table."""

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

HEADINGS = ("benchmark", "measured", "value", "beside", "its value", "ratio", "reach", "", "note")


@dataclass(frozen=True)
class Row:
    """One result. `ratio` is to the yardstick; `met` is None without a target. `values` and `ratios`: of each round."""

    benchmark: str
    measured: str
    value: float
    unit: str
    yardstick: str = ""
    yardstick_value: float | None = None
    ratio: float | None = None
    reach: str = ""
    met: bool | None = None
    note: str = ""
    values: tuple[float, ...] = ()
    ratios: tuple[float, ...] = ()

    def cells(self) -> tuple[str, ...]:
        return (
            self.benchmark,
            self.measured,
            f"{shown(self.value)} {self.unit}",
            self.yardstick,
            "" if self.yardstick_value is None else shown(self.yardstick_value),
            "" if self.ratio is None else f"{self.ratio:.2f}",
            self.reach,
            {None: "", True: "met", False: "MISSED"}[self.met],
            self.note,
        )


def shown(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def over_rounds(
    benchmark: str, measured: str, values: Sequence[float], unit: str, *, at_most: float | None = None, note: str = ""
) -> Row:
    """The median of the rounds."""
    value = statistics.median(values)
    return Row(
        benchmark,
        measured,
        value,
        unit,
        reach="" if at_most is None else f"≤ {at_most:g} {unit}",
        met=None if at_most is None else value <= at_most,
        note=note or spread(values),
        values=tuple(values),
    )


def spread(values: Sequence[float]) -> str:
    return f"rounds: {len(values)}, from {shown(min(values))} to {shown(max(values))}"


def compare(
    benchmark: str,
    measured: str,
    measured_rates: Sequence[float],
    yardstick: str,
    yardstick_rates: Sequence[float],
    unit: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    note: str = "",
) -> Row:
    """Compare rounds in run order. The ratio is the median of the rounds' ratios: noise hits both sides of a round."""
    ratios = [rate / other for rate, other in zip(measured_rates, yardstick_rates, strict=True)]
    ratio = statistics.median(ratios)
    return Row(
        benchmark,
        measured,
        statistics.median(measured_rates),
        unit,
        yardstick,
        statistics.median(yardstick_rates),
        ratio,
        *_judged(ratio, at_least, at_most),
        note or f"rounds: {len(ratios)}, from {min(ratios):.2f} to {max(ratios):.2f}",
        tuple(measured_rates),
        tuple(ratios),
    )


def _judged(ratio: float, at_least: float | None, at_most: float | None) -> tuple[str, bool | None]:
    if at_least is not None:
        return f"≥ {at_least:g}", ratio >= at_least
    return ("", None) if at_most is None else (f"≤ {at_most:g}", ratio <= at_most)


def percentile(values: Iterable[float], percent: float) -> float:
    """Nearest rank: always a measured value."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def table(rows: Sequence[Row]) -> str:
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])
