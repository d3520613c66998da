"""What docs/model.md says of each step of the model: which states it changes, and which statement does it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "model.md"
_ROW = re.compile(r"^\| `(\w+)` \|(.*)\| `(services/[\w/.]+)` \| `(\w+)` \|$", re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """`changes`: from a state of the mail to another."""

    name: str
    changes: frozenset[tuple[str, str]]
    file: str
    statement: str


def steps() -> Iterator[Step]:
    for match in _ROW.finditer(PAGE.read_text(encoding="utf-8")):
        before, _, after = match[2].partition("→")
        changes = {(old, new) for old in _states(before) for new in _states(after)}
        yield Step(match[1], frozenset(changes), match[3], match[4])


def _states(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)
