"""Whether the HTML of a rendered template is well-formed, and if not, in which line of which file it goes wrong.

Every element but the void ones must be closed, in order: mail programs repair what is not, each in its own way.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from jinja2 import Template
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

from shared.process.template_faults import fault_at

# HTML, section 13.1.2: elements that have no end tag.
_VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
# Only elements inside of these may end in "/>".
_FOREIGN = frozenset({"svg", "math"})
_RAW = frozenset({"script", "style"})
_HALF_A_TAG = re.compile(r"<[A-Za-z/!?]")
# Before each piece of text that a template gives. Values cannot hold these characters.
_MARK = re.compile("\x02([^\x02\x03]*)\x1f([0-9]+)\x03")


@dataclass(frozen=True, slots=True)
class HtmlFault:
    offset: int
    what: str


def find_fault(html: str) -> HtmlFault | None:
    """The first place where the elements do not nest, or where a tag is broken."""
    outline = _Outline(html)
    try:
        outline.feed(html)
    except AssertionError:  # how the parser refuses a declaration
        return HtmlFault(outline.here(), "this declaration is no HTML")
    return outline.fault or outline.fault_at_end()


def refuse_malformed(html: str, template: Template, context: Mapping[str, Any]) -> None:
    """Raises ConfigurationError when `html`, which `template` renders with `context`, is not well-formed.

    The message names the file and line of the template, or of one that it extends or includes.
    """
    fault = find_fault(html)
    if fault is None:
        return
    file, line = _place_in_source(template, context)
    raise fault_at(file, line, f"the HTML is not well-formed: {fault.what}")


def _place_in_source(template: Template, context: Mapping[str, Any]) -> tuple[Path, int | None]:
    """The file and line of the first fault. No line when the template works otherwise once its text is marked."""
    assert template.name is not None
    marking = template.environment.overlay(extensions=[_Marks])
    try:
        pieces, plain = _unmarked(marking.get_template(template.name).render(context))
    except Exception:  # noqa: BLE001 - a template may raise anything
        pieces, plain = [], ""
    fault = find_fault(plain)
    place = bisect_right(pieces, fault.offset, key=lambda piece: piece.offset) if fault else 0
    if fault is None or place == 0:
        return Path(template.filename or ""), None
    piece = pieces[place - 1]
    return piece.file, piece.line + plain.count("\n", piece.offset, fault.offset)


class _Outline(HTMLParser):
    """The open elements of a page, and its first fault."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=False)
        self.fault: HtmlFault | None = None
        self._open: list[tuple[str, int]] = []
        self._length = len(html)
        self._line_starts = [0, *(match.end() for match in re.finditer("\n", html))]

    def here(self) -> int:
        line, column = self.getpos()
        return self._line_starts[line - 1] + column

    def fault_at_end(self) -> HtmlFault | None:
        """After all was fed. The parser keeps what may be half a tag or comment."""
        if self.rawdata.startswith("<") and _HALF_A_TAG.match(self.rawdata):
            return HtmlFault(self._length - len(self.rawdata), "a tag or comment begins here and does not end")
        if self._open:
            tag, offset = self._open[-1]
            return HtmlFault(offset, f"<{tag}> is not closed")
        return None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag not in _VOID:
            self._open.append((tag, self.here()))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _FOREIGN and not _FOREIGN & {name for name, _ in self._open}:
            self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1][0] == tag:
            self._open.pop()
        elif tag in {name for name, _ in self._open}:
            name, offset = self._open[-1]
            self._report(offset, f"<{name}> is not closed before </{tag}>")
        else:
            self._report(self.here(), f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        raw = self._open and self._open[-1][0] in _RAW
        if not raw and (half := _HALF_A_TAG.search(data)):
            self._report(self.here() + half.start(), "a tag begins here and does not end; the character is &lt;")

    def _report(self, offset: int, what: str) -> None:
        self.fault = self.fault or HtmlFault(offset, what)


class _Marks(Extension):
    """Marks each piece of text with its file and line."""

    def filter_stream(self, stream: TokenStream) -> Iterator[Token]:
        for token in stream:
            marked = f"\x02{stream.filename}\x1f{token.lineno}\x03{token.value}"
            yield Token(token.lineno, token.type, marked) if token.type == "data" else token


@dataclass(frozen=True, slots=True)
class _Piece:
    offset: int
    file: Path
    line: int


def _unmarked(marked: str) -> tuple[list[_Piece], str]:
    pieces, plain, length, end = [], [], 0, 0
    for mark in _MARK.finditer(marked):
        plain.append(marked[end : mark.start()])
        length += len(plain[-1])
        pieces.append(_Piece(length, Path(mark[1]), int(mark[2])))
        end = mark.end()
    return pieces, "".join([*plain, marked[end:]])
