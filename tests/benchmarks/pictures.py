"""The two pictures of docs/performance.md: what a signup costs, and whether that holds over time."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .report import Row
from .results import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COST, TIME = "Processor time of a signup", "A signup's cost over time"
_PRODUCT = ("signup API", "signup worker", "mail API", "mail worker", "PostgreSQL", "Valkey")


def draw(runs: Mapping[str, Run], folder: Path) -> dict[str, Path]:
    """Draw what the runs hold as SVG. Returns the files by title."""
    # Only this needs it, and loading it takes a second.
    import matplotlib as mpl  # noqa: PLC0415

    mpl.use("svg")
    drawn: dict[str, Path] = {}
    with mpl.rc_context():
        # A fixed salt and no date: the same results give the same bytes.
        mpl.rc("svg", hashsalt="counterfoil", fonttype="none")
        mpl.rc("font", size=9)
        if bars := cost_bars(runs):
            drawn[COST] = _draw_bars(bars, folder / "cost.svg")
        if lines := cost_lines(runs):
            drawn[TIME] = _draw_lines(lines, folder / "over-time.svg")
    return drawn


def cost_bars(runs: Mapping[str, Run]) -> dict[str, dict[str, float]]:
    """Milliseconds by process, of the product and of the alternative; of the product alone where only `cost` ran."""
    if "alternative" in runs:
        bars: dict[str, dict[str, float]] = {}
        for row in runs["alternative"].rows:
            who, found, process = row.measured.partition(", cost: ")
            if found and process != "all":
                bars.setdefault(who, {})[process] = row.value
        return bars
    rows = runs["cost"].rows if "cost" in runs else ()
    prefix = "full load: "
    processes = {row.measured.removeprefix(prefix): row.value for row in rows if row.measured.startswith(prefix)}
    return {"this product": processes} if processes else {}


def cost_lines(runs: Mapping[str, Run]) -> dict[str, Sequence[float]]:
    """Milliseconds in each window of the steady loads."""
    wanted = {"cost": ("steady", ": all"), "held": ("cost, each window", "")}
    return {
        _label(row): row.values
        for name, (start, end) in wanted.items()
        if name in runs
        for row in runs[name].rows
        if row.measured.startswith(start) and row.measured.endswith(end) and len(row.values) > 1
    }


def _label(row: Row) -> str:
    return "snapshot held" if row.benchmark == "held" else row.measured.removesuffix(": all")


def _draw_bars(bars: Mapping[str, Mapping[str, float]], file: Path) -> Path:
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    figure = Figure(figsize=(7, 1.2 + 0.5 * len(bars)), layout="constrained")
    axes: Axes = figure.subplots()
    processes = dict.fromkeys([*_PRODUCT, *(process for each in bars.values() for process in each)])
    left = dict.fromkeys(bars, 0.0)
    for process in processes:
        widths = [bars[who].get(process, 0.0) for who in bars]
        if any(widths):
            axes.barh(list(bars), widths, left=list(left.values()), label=process, height=0.6)
        left = {who: left[who] + width for who, width in zip(bars, widths, strict=True)}
    axes.invert_yaxis()
    axes.set_xlabel("processor ms for each signup mailed")
    axes.set_title(COST)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return _save(figure, file)


def _draw_lines(lines: Mapping[str, Sequence[float]], file: Path) -> Path:
    from matplotlib.figure import Figure  # noqa: PLC0415 - as above

    figure = Figure(figsize=(7, 3), layout="constrained")
    axes: Axes = figure.subplots()
    for label, values in lines.items():
        axes.plot(range(1, len(values) + 1), values, marker="o", markersize=3, label=label)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("window (minute)")
    axes.set_ylabel("processor ms for each mail")
    axes.set_title(TIME)
    axes.legend(frameon=False)
    return _save(figure, file)


def _save(figure: Any, file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file
