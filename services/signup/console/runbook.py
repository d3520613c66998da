"""The runbook, docs/operating.md, section by section: text of our own, in the few forms that it has."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from markupsafe import Markup, escape

from .mount import PATH

FILE = Path(__file__).parents[3] / "docs" / "operating.md"
_HEADING = re.compile(r"#{2,3} (.+)")
_SPANS = re.compile(r"`([^`]+)`|\*\*(.+?)\*\*|\[([^\]]+)\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A paragraph, a list item or a block of commands (`kind`: `text`, `item`, `code`)."""

    kind: str
    html: Markup


@dataclass(frozen=True)
class Runbook:
    sections: Mapping[str, Sequence[Block]]

    @staticmethod
    @cache
    def load() -> "Runbook":
        """Empty when the document is not beside the program."""
        try:
            return read(FILE.read_text(encoding="utf-8"))
        except OSError:
            return Runbook({})

    def section(self, name: str) -> Sequence[Block] | None:
        return self.sections.get(name)


def read(text: str) -> Runbook:
    """Pure. The sections of the document by their headings."""
    return Runbook(dict(_sections(text)))


def _sections(text: str) -> Iterator[tuple[str, Sequence[Block]]]:
    name, lines, in_code = "", list[str](), False
    for line in text.splitlines():
        in_code ^= line.startswith("```")
        heading = None if in_code else _HEADING.fullmatch(line)
        if heading is None:
            lines.append(line)
            continue
        yield name, list(_blocks(lines))
        name, lines = heading[1], []
    yield name, list(_blocks(lines))


def _blocks(lines: Sequence[str]) -> Iterator[Block]:
    paragraph, code, kind = list[str](), list[str](), "text"
    in_code = False
    for line in [*lines, ""]:
        ends_paragraph = not line.strip() or line.startswith(("```", "- "))
        if paragraph and ends_paragraph and not in_code:
            yield Block(kind, _spans(" ".join(paragraph)))
            paragraph, kind = [], "text"
        if line.startswith("```"):
            if in_code:
                yield Block("code", escape("\n".join(code)))
                code = []
            in_code = not in_code
        elif in_code:
            code.append(line)
        elif line.startswith("- "):
            paragraph, kind = [line[2:]], "item"
        elif line.strip():
            paragraph.append(line.strip())


def _spans(text: str) -> Markup:
    pieces, end = list[Markup](), 0
    for found in _SPANS.finditer(text):
        pieces.append(escape(text[end : found.start()]))
        code, strong, label, target = found.groups()
        if code is not None:
            pieces.append(Markup("<code>{}</code>").format(code))
        elif strong is not None:
            pieces.append(Markup("<strong>{}</strong>").format(strong))
        else:
            pieces.append(_link(label, target))
        end = found.end()
    return Markup().join([*pieces, escape(text[end:])])


def _link(label: str, target: str) -> Markup:
    """Links within the runbook lead to its sections; those to other documents are text, as no server has them."""
    if target.startswith("#"):
        return Markup('<a href="{}/runbook/{}">{}</a>').format(PATH, target[1:], label)
    return Markup("{} <span class=quiet>({})</span>").format(label, target)
