"""Reads CSV (RFC 4180) with a header line, so that no line disappears into another one. Pure.

A record may span lines: quoted metadata may hold line ends. A closing quote that is missing would let a field run on
over the rows below it. Such a field is the fault of the line where its record begins, and reading continues on the next
line.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from itertools import islice

import orjson

from .csv_columns import Columns
from .file_format import HEADER_RULE
from .file_lines import MAX_LINE_BYTES, TOO_LONG, Lines, Record, UnreadableFileError

# A quoted field that goes on for longer, or for more characters than a line has bytes, is one without a closing quote.
MAX_RECORD_LINES = 100
# The header holds no CR. More than one before the LF is what a wrong conversion of line ends leaves.
_BARE_CR = re.compile(rb"\r[^\r]")
_TEXT_AND_PAIRED_QUOTES = re.compile(r'[^"]*(?:""[^"]*)*')
_UNCLOSED = (
    "A quoted field begins on this line and its closing quote is missing. Only metadata may hold line ends, on at most "
    f"{MAX_RECORD_LINES} lines and {MAX_LINE_BYTES} characters"
)
_TEXT_BEHIND_QUOTE = "Text follows a closing quote; inside a quoted field, write every quote twice"
_CR_INSIDE = "A CR stands inside the line; lines end in LF or CRLF"


class _NotCsvError(Exception):
    """A line is not a CSV record. The message is for the report."""


class CsvReader:
    """A reader (`file_reader`)."""

    def __init__(self) -> None:
        self._lines = Lines(_BARE_CR)
        self._columns: Columns | None = None
        # Lines without a record so far; the record of the first one may end on a line that has not arrived yet.
        self._waiting: deque[tuple[int, str | None]] = deque()
        # How many of them, with how many characters, are known to belong to one quoted field that is open.
        self._searched = self._characters = 0

    def feed(self, chunk: bytes) -> Iterator[Record]:
        return self._records(self._lines.feed(chunk))

    def end(self) -> Iterator[Record]:
        yield from self._records(self._lines.end())
        yield from self._complete(last=True)
        if self._columns is None:
            raise UnreadableFileError(f"The file is empty. {HEADER_RULE}")

    def _records(self, lines: Iterator[tuple[int, bytes | None]]) -> Iterator[Record]:
        for number, line in lines:
            # Invalid UTF-8 passes here and is refused per record later.
            text = None if line is None else line.decode("utf-8", "surrogateescape") + "\n"
            self._waiting.append((number, text))
            yield from self._complete(last=False)

    def _complete(self, *, last: bool) -> Iterator[Record]:
        """Every record that is complete, or cannot become complete."""
        while self._waiting:
            number, first = self._waiting[0]
            if self._columns is None:
                self._columns = _header(first)
                self._drop(1)
                continue
            record = self._record(self._columns, number, first, last=last)
            if record is None:
                return
            self._drop(record.lines)
            if record.raw or record.reason:
                yield record

    def _drop(self, lines: int) -> None:
        for _ in range(lines):
            self._waiting.popleft()
        self._searched = self._characters = 0

    def _record(self, columns: Columns, number: int, first: str | None, *, last: bool) -> Record | None:
        """The record that begins on the first waiting line: empty for a blank line, None if more lines must come."""
        if first is None:
            return Record(number, None, TOO_LONG)
        try:
            cells = None if self._searched else _cells([first])
            if cells is not None:
                return _as_record(columns, number, cells) if cells else Record(number, None)
        except _NotCsvError as error:
            return Record(number, None, str(error))
        lines = self._lines_of_open_record(columns, last=last)
        return None if lines is None else self._open_record(columns, number, lines)

    def _open_record(self, columns: Columns, number: int, lines: int) -> Record:
        try:
            cells = _cells([text or "" for _, text in islice(self._waiting, lines)]) if lines else None
        except _NotCsvError:
            cells = None
        if cells is None or not columns.may_span_lines(cells):
            return Record(number, None, _UNCLOSED)
        return _as_record(columns, number, cells, lines)

    def _lines_of_open_record(self, columns: Columns, *, last: bool) -> int | None:
        """How many lines the record of the first waiting line takes, whose last field is open at its end.

        0 when it never ends; None when more lines must come. Each line is searched once, and rows end the search, so
        the cost does not grow with the file.
        """
        for _, text in islice(self._waiting, self._searched, None):
            if text is None or (self._searched and _is_row(columns, text)):
                return 0
            is_open = not self._searched or _is_open_after(text)
            self._searched += 1
            self._characters += len(text)
            if is_open is None or self._searched > MAX_RECORD_LINES or self._characters > MAX_LINE_BYTES:
                return 0
            if not is_open:
                return self._searched
        return 0 if last else None


def _header(line: str | None) -> Columns | None:
    """The columns; None for a blank line. Raises UnreadableFileError."""
    if line is None:
        raise UnreadableFileError(f"{TOO_LONG}. {HEADER_RULE}")
    try:
        cells = _cells([line])
    except _NotCsvError as error:
        raise UnreadableFileError(f"{error}. {HEADER_RULE}") from None
    if cells is None:
        raise UnreadableFileError(f"A closing quote is missing on the first line. {HEADER_RULE}")
    return Columns(cells) if cells else None


def _cells(lines: list[str]) -> list[str] | None:
    """The cells of one record; None when a quoted field is open at its end. Raises _NotCsvError."""
    try:
        return next(csv.reader(lines, strict=True))
    except csv.Error as error:
        if "unexpected end" in str(error):
            return None
        raise _NotCsvError(_CR_INSIDE if "new-line" in str(error) else _TEXT_BEHIND_QUOTE) from None


def _is_row(columns: Columns, text: str) -> bool:
    """Whether a line inside a quoted field is a row: a sign that the closing quote is missing."""
    if "@" not in text:
        return False
    try:
        cells = _cells([text])
    except _NotCsvError:
        return False
    return cells is not None and columns.is_row(cells)


def _is_open_after(line: str) -> bool | None:
    """Whether a quoted field is open at the end of a line that begins inside one. None: the line is not CSV."""
    at, is_open = 0, True
    while True:
        if is_open:
            match = _TEXT_AND_PAIRED_QUOTES.match(line, at)
            assert match is not None  # it matches the empty text
            if match.end() == len(line):
                return True
            at = match.end() + 1
            if line[at] != ",":
                return False if line[at] in "\r\n" else None
        else:
            at = line.find(",", at)
            if at < 0:
                return False
        at += 1
        is_open = line[at] == '"'
        at += is_open


def _as_record(columns: Columns, number: int, cells: list[str], lines: int = 1) -> Record:
    if len(cells) != len(columns):
        return Record(number, None, f"The record has {len(cells)} columns, the header names {len(columns)}", lines)
    try:
        raw = orjson.dumps(columns.as_object(cells))
    except TypeError:
        return Record(number, None, "The line is not UTF-8", lines)
    return Record(number, raw, None, lines) if len(raw) <= MAX_LINE_BYTES else Record(number, None, TOO_LONG, lines)
