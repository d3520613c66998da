"""docs/mutations.md: the table of what was measured, between two marks."""

import os
from collections.abc import Sequence
from datetime import UTC, datetime

from .mutation import ROOT
from .trial import Result

PAGE = ROOT / "docs" / "mutations.md"
BEGIN, END = "<!-- table: written by `python -m tests.mutations --write` -->\n", "<!-- end of table -->\n"


def table(results: Sequence[Result]) -> str:
    """As Markdown."""
    caught = sum(result.caught_by is not None for result in results)
    lines = [
        (
            f"{len(results)} mutations, {caught} caught, each by a test of the promise that it breaks. Measured on"
            f" {datetime.now(UTC):%Y-%m-%d}, on a machine with {os.cpu_count()} cores that had other work too, two at a"
            " time. The seconds are those of the whole pytest process, with the start of its servers."
        ),
        "",
        "| promise | mutation | what it breaks | caught by | after |",
        "|---|---|---|---|---|",
    ]
    for result in results:
        mutation, test = result.mutation, result.caught_by
        name = f"**{mutation.name}**" if mutation.fixed else mutation.name
        found = f"`{test.partition('::')[2]}`" if test else "NOT CAUGHT"
        cells = (mutation.promise, f"{name} in `{mutation.file}`", mutation.breaks, found, f"{result.seconds:.1f} s")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def write(results: Sequence[Result]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}{table(results)}{END}{after}", encoding="utf-8")
