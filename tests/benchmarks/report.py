"""Results as ratios: the arithmetic, the table, `var/bench.json`."""

import json
import math
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

HEADINGS = ("benchmark", "measured", "value", "beside", "its value", "ratio", "reach", "", "note")


@dataclass(frozen=True)
class Row:
    """One result. `ratio` is to the yardstick; `met` is None without a target."""

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
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}"


def compare(
    benchmark: str,
    measured: str,
    measured_rates: Sequence[float],
    yardstick: str,
    yardstick_rates: Sequence[float],
    unit: str,
    *,
    at_least: float | None = None,
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
        "" if at_least is None else f"≥ {at_least:g}",
        None if at_least is None else ratio >= at_least,
        f"rounds: {len(ratios)}, from {min(ratios):.2f} to {max(ratios):.2f}",
    )


def percentile(values: Iterable[float], percent: float) -> float:
    """Nearest rank: always a measured value."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def table(rows: Sequence[Row]) -> str:
    cells = [HEADINGS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def machine() -> dict[str, Any]:
    return {"processors": os.cpu_count(), "architecture": platform.machine(), "python": platform.python_version()}


def keep(file: Path, benchmark: str, rows: Sequence[Row], circumstances: dict[str, Any]) -> None:
    """Write one benchmark's result into `file` and keep the results of the others."""
    kept = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    kept[benchmark] = {"machine": machine(), **circumstances, "rows": [asdict(row) for row in rows]}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(kept, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
