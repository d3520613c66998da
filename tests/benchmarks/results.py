"""The results file: one JSON object a line and measurement, newest last. Nothing is ever taken out of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from .report import Row

_FIELDS = {field.name for field in fields(Row)}


@dataclass(frozen=True)
class Run:
    """All rows of one run of one benchmark, and the circumstances that they share."""

    rows: tuple[Row, ...]
    circumstances: dict[str, Any]

    @property
    def quick(self) -> bool:
        return bool(self.circumstances.get("quick"))


def append(file: Path, rows: Sequence[Row], circumstances: Mapping[str, Any]) -> None:
    """`circumstances` must hold `at`, which is the same in all lines of a run and differs between runs."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as output:
        for row in rows:
            output.write(json.dumps({**asdict(row), "circumstances": dict(circumstances)}, ensure_ascii=False) + "\n")


def latest(file: Path) -> dict[str, Run]:
    """The newest run of each benchmark, in the order of the file; a quick run only where there is no full one."""
    newest: dict[str, Run] = {}
    for run in _runs(file):
        name = run.rows[0].benchmark
        if not run.quick or name not in newest or newest[name].quick:
            newest[name] = run
    return newest


def _runs(file: Path) -> list[Run]:
    runs: dict[tuple[str, str], Run] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        kept = json.loads(line)
        circumstances = kept.pop("circumstances")
        known = {name: value for name, value in kept.items() if name in _FIELDS}
        row = Row(**known | {name: tuple(known.get(name, ())) for name in ("values", "ratios")})
        key = (row.benchmark, circumstances["at"])
        earlier = runs[key].rows if key in runs else ()
        runs[key] = Run((*earlier, row), circumstances)
    return list(runs.values())
