"""Writes docs/performance.md and its two pictures from the results file. Measures nothing."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from . import pictures
from .report import Row, shown
from .results import Run, latest

# One sentence for each benchmark, in the order of the page.
HOW = {
    "cost": "Processor milliseconds for each signup that is mailed, by process. Full load: from the first signup until "
    "the last mail has its 250 and both books say so. Steady and idle: the same product, the same processes.",
    "alternative": "The usual way (SQLAlchemy ORM session, commit, one arq job that opens an SMTP conversation), in "
    "turn with the product: same load, same sink, same servers.",
    "signup": "`POST /v1/signups`, one API process, beside bare FastAPI and beside pgbench writing the same rows.",
    "relay": "Outbox rows into the mail API, beside two outbox libraries.",
    "delivery": "Queued mails into the sink, beside bare aiosmtplib on as many connections.",
    "latency": "From the answer to a signup to the gateway's 250, through the whole product.",
    "scale": "1, 2 and 4 processes of each kind at full load.",
    "held": "One transaction with a snapshot left open in both databases during the load: last minute against first.",
    "growth": "Rates and answers with many people and mails behind them, against ten thousand.",
    "recovery": "`kill -9` under a steady load, started again at once. Seconds until everything asked for before the "
    "return is mailed. The sink's own record is compared with the ledger.",
    "bounces": "Notices of a corpus that are read, beside flufl.bounce on the same files (bounces.md).",
    "enumeration": "Whether the time of an anonymous answer tells that an address is known.",
}
INTRODUCTION = """# Performance

Written by `python -m tests.benchmarks report` from its results file; [benchmarks.md](benchmarks.md) says what each
benchmark does. Values are medians of n rounds, and the spread is the least and the greatest of them; where a note
speaks of windows, n is the number of windows of one run. A ratio is to the value beside it, measured in the same run.
Load generator and mail sink run on the same machine.
"""
_WIDTH = 120
_FEW_NAMES = 3
_HEADINGS = ("measured", "median", "spread", "n", "beside", "its value", "ratio", "reach", "")
_VERDICTS = {None: "", True: "met", False: "**missed**"}


def write(results: Path, output: Path) -> list[Path]:
    """Write the page and the pictures beside it. Returns the files that were written.

    Raises:
        FileNotFoundError: nothing was measured yet.
    """
    runs = latest(results)
    drawn = pictures.draw(runs, output.parent / "performance")
    images = "".join(f"\n![{title}]({file.relative_to(output.parent)})\n" for title, file in drawn.items())
    names = [*(name for name in HOW if name in runs), *(name for name in runs if name not in HOW)]
    sections = [_section(name, runs[name]) for name in names]
    output.write_text("\n".join([INTRODUCTION + images, *sections]), encoding="utf-8")
    return [output, *drawn.values()]


def _section(name: str, run: Run) -> str:
    lines = [f"## {name}\n", textwrap.fill(HOW.get(name, ""), _WIDTH) + "\n", _table(run.rows) + "\n"]
    notes = notes_of(run.rows)
    lines += [f"- {note}" for note in notes]
    return "\n".join([*lines, *([""] if notes else []), textwrap.fill(_circumstances(run), _WIDTH), ""])


def notes_of(rows: Sequence[Row]) -> list[str]:
    """Each note once, with the rows that it belongs to. The table shows the rounds itself."""
    measured: dict[str, list[str]] = {}
    for row in rows:
        if row.note and not row.note.startswith("rounds:"):
            measured.setdefault(row.note, []).append(row.measured)
    return [
        f"{'; '.join(names) if len(names) <= _FEW_NAMES else f'{len(names)} rows'}: {note}"
        for note, names in measured.items()
    ]


def _table(rows: Sequence[Row]) -> str:
    lines = [_line(_HEADINGS), "|" + "---|" * len(_HEADINGS), *(_line(cells(row)) for row in rows)]
    return "\n".join(lines)


def cells(row: Row) -> tuple[str, ...]:
    values = row.values or (row.value,)
    return (
        row.measured,
        f"{shown(row.value)} {row.unit}",
        f"{shown(min(values))} to {shown(max(values))}" if len(values) > 1 else "",
        str(len(values)),
        row.yardstick,
        "" if row.yardstick_value is None else shown(row.yardstick_value),
        _ratio(row),
        row.reach,
        _VERDICTS[row.met],
    )


def _ratio(row: Row) -> str:
    if row.ratio is None:
        return ""
    if len(row.ratios) < 2:
        return f"{row.ratio:.2f}"
    return f"{row.ratio:.2f} ({min(row.ratios):.2f} to {max(row.ratios):.2f})"


def _line(texts: Sequence[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def _circumstances(run: Run) -> str:
    said = run.circumstances
    machine, load = said["machine"], said["load_average"]
    versions = ", ".join(f"{name} {version}" for name, version in said["versions"].items())
    arguments = "".join(f", --{name.replace('_', '-')} {value}" for name, value in said["arguments"].items())
    quick = " **A quick run: too short to conclude from.**" if run.quick else ""
    revision = f"revision {said['revision']}" if said["revision"] else "revision not said"
    return (
        f"{said['at'][:16].replace('T', ' ')} UTC, {revision}, {said['minutes']:g} minutes{arguments}, "
        f"{machine['processors']} processors ({machine['model']}), {machine['memory_gib']} GiB, "
        f"Linux {machine['kernel']}, Python {machine['python']}; "
        f"load average {load['before']:g} before and {load['after']:g} after; "
        f"load from {said['load_generator']}, mails into {said['sink']}; {versions}.{quick}"
    )
