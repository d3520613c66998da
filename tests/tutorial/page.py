"""Reads docs/tutorial.md: its blocks in order, each command with what it prints."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.databases import ROOT

PAGE = ROOT / "docs" / "tutorial.md"
FIRST, SECOND = "First terminal", "Second terminal"
_BLOCK = re.compile(r"^```(\w*)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMAND = re.compile(r"^(?:\$ ((?:.+\\\n)*.+)|(\^C))\n((?:(?!\$ |\^C).*\n)*)", re.MULTILINE)


@dataclass(frozen=True)
class Typed:
    """One command in a terminal, or `^C`."""

    terminal: str
    command: str
    prints: str

    def matches(self, output: str) -> bool:
        """`…` stands for any text, and alone on a line for any number of lines."""
        lines = self.prints.splitlines()
        expected = [r"(?:.*\n)*" if line == "…" else re.escape(line).replace("…", ".*") + r"\n" for line in lines]
        return re.fullmatch("".join(expected), "".join(f"{line}\n" for line in output.strip().splitlines())) is not None


@dataclass(frozen=True)
class Saved:
    """A file that the reader writes."""

    path: str
    text: str


def steps() -> Iterator[Typed | Saved]:
    """Raises ValueError for a block that is neither of the two: no block goes untried."""
    page = PAGE.read_text(encoding="utf-8")
    if page.count("\n```") != 2 * len(blocks := _BLOCK.findall(page)):
        raise ValueError("a block is not closed, or is indented")
    terminal = ""
    for language, title, text in blocks:
        if language == "python" and title:
            yield Saved(title, text)
            continue
        terminal = title or terminal
        commands = list(_COMMAND.finditer(text))
        if language != "console" or terminal not in {FIRST, SECOND} or "".join(c[0] for c in commands) != text:
            raise ValueError(f"neither commands of a terminal nor a file: {text[:60]!r}")
        for found in commands:
            yield Typed(terminal, found[1] or found[2], found[3])
