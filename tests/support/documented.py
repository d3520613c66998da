"""Reads docs/metrics.md."""

import re
from dataclasses import dataclass

from .databases import ROOT

_SECTIONS = {"signup": ("Both services", "Signup"), "mail": ("Both services", "Mail")}
_ROW = re.compile(r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| (.+) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Documented:
    type: str
    labels: frozenset[str]
    help: str


def documented(service: str) -> dict[str, Documented]:
    """The metrics of one service, by the name that Prometheus scrapes."""
    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL))
    rows = (row for title in _SECTIONS[service] for row in _ROW.findall(sections[title]))
    return {
        name: Documented(kind, frozenset(re.findall(r"`(\w+)`", labels)), description.strip())
        for name, kind, labels, description in rows
    }
