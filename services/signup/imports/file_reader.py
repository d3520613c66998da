"""Cuts a body into records while it arrives, without holding all of it. Pure: bytes in, records out.

Unreadable input becomes a record with a reason, and reading continues after it. Only a CSV file without a valid header
line is refused as a whole.
"""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

# The limit for a signup body (API.md): no valid row is longer.
MAX_LINE_BYTES = 64 * 1024
_BOM = b"\xef\xbb\xbf"
_REQUIRED = ("external_id", "email", "name")
_OPTIONAL = ("locale", "verified", "metadata")
_METADATA = "metadata."
_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})
_TOO_LONG = f"The line is longer than {MAX_LINE_BYTES} bytes"


@dataclass(frozen=True, slots=True)
class Record:
    """`raw` is the JSON as received, or built from CSV. It is None when `reason` says why there is none."""

    line: int
    raw: bytes | None
    reason: str | None = None


class HeaderError(Exception):
    """The header line of a CSV file is invalid. `column` names the wrong column."""

    def __init__(self, column: str, detail: str) -> None:
        super().__init__(detail)
        self.column = column
        self.detail = detail


class Reader(Protocol):
    def feed(self, chunk: bytes) -> Iterator[Record]:
        """The records that `chunk` completes. May raise HeaderError."""

    def end(self) -> Iterator[Record]:
        """The remaining records at the end of the body. May raise HeaderError."""


class _Lines:
    """Bytes in, numbered whole lines out. None stands for a line over the length limit."""

    def __init__(self) -> None:
        self._number = 0
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            yield self._next(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self._skipping, self._rest = True, b""

    def end(self) -> Iterator[tuple[int, bytes | None]]:
        if self._rest or self._skipping:
            yield self._next(self._rest)
        self._rest = b""

    def _next(self, line: bytes) -> tuple[int, bytes | None]:
        self._number += 1
        too_long, self._skipping = self._skipping or len(line) > MAX_LINE_BYTES, False
        if self._number == 1:
            line = line.removeprefix(_BOM)
        return self._number, None if too_long else line.removesuffix(b"\r")


class NdjsonReader:
    """One JSON object per line; blank lines are skipped."""

    def __init__(self) -> None:
        self._lines = _Lines()

    def feed(self, chunk: bytes) -> Iterator[Record]:
        return self._records(self._lines.feed(chunk))

    def end(self) -> Iterator[Record]:
        return self._records(self._lines.end())

    @staticmethod
    def _records(lines: Iterator[tuple[int, bytes | None]]) -> Iterator[Record]:
        for number, line in lines:
            if line is None:
                yield Record(number, None, _TOO_LONG)
            elif line.strip():
                yield Record(number, line)


class CsvReader:
    """RFC 4180, with a header line. A record may span lines; its number is that of its first line."""

    def __init__(self) -> None:
        self._lines = _Lines()
        self._columns: Sequence[str] | None = None
        # The lines of a record that is still incomplete.
        self._open: list[tuple[int, str]] = []
        self._open_bytes = 0

    def feed(self, chunk: bytes) -> Iterator[Record]:
        for number, line in self._lines.feed(chunk):
            yield from self._append(number, line)
        yield from self._parse(last=False)

    def end(self) -> Iterator[Record]:
        for number, line in self._lines.end():
            yield from self._append(number, line)
        yield from self._parse(last=True)
        if self._columns is None:
            raise HeaderError("", "The header line is missing: the first line must name the columns")

    def _append(self, number: int, line: bytes | None) -> Iterator[Record]:
        if line is None:
            # No record can continue after it, so it ends an open record.
            yield from self._parse(last=True)
            yield Record(number, None, _TOO_LONG)
        else:
            # Invalid UTF-8 passes here and is refused per record later.
            self._open.append((number, line.decode("utf-8", "surrogateescape") + "\n"))

    def _parse(self, *, last: bool) -> Iterator[Record]:
        """All complete records. The last one may continue in the next chunk, which parses it again."""
        lines, self._open = self._open, []
        reader = csv.reader((text for _, text in lines), strict=True)
        while (start := reader.line_num) < len(lines):
            first = lines[start][0]
            try:
                cells = next(reader)
            except csv.Error as error:
                open_bytes = sum(len(text) for _, text in lines[start:])
                incomplete = reader.line_num == len(lines) and "unexpected end" in str(error)
                if incomplete and not last and open_bytes <= MAX_LINE_BYTES:
                    self._open = lines[start:]
                    return
                yield Record(first, None, f"Not a CSV record: {error}")
            else:
                yield from self._record(first, cells)

    def _record(self, line: int, cells: list[str]) -> Iterator[Record]:
        if not cells:
            return
        if self._columns is None:
            self._columns = _checked_header(cells)
            return
        if len(cells) != len(self._columns):
            reason = f"The record has {len(cells)} columns, the header names {len(self._columns)}"
            yield Record(line, None, reason)
            return
        try:
            raw = orjson.dumps(_as_object(self._columns, cells))
        except TypeError:
            yield Record(line, None, "The line is not UTF-8")
            return
        yield Record(line, raw) if len(raw) <= MAX_LINE_BYTES else Record(line, None, _TOO_LONG)


def _checked_header(cells: list[str]) -> list[str]:
    names = [cell.strip() for cell in cells]
    for name in names:
        if name not in _REQUIRED + _OPTIONAL and not (name.startswith(_METADATA) and name != _METADATA):
            shown = name.encode("utf-8", "replace").decode()[:100]
            raise HeaderError(shown, "Unknown column; the header line must name the columns, separated by commas")
        if names.count(name) > 1:
            raise HeaderError(name, "The column is named twice")
        if name == "metadata" and any(other.startswith(_METADATA) for other in names):
            raise HeaderError(name, "Give either `metadata` or columns `metadata.KEY`")
    for name in _REQUIRED:
        if name not in names:
            raise HeaderError(name, "This column is missing")
    return names


def _as_object(columns: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    """The row as an NDJSON object. Empty optional cells are left out."""
    row: dict[str, Any] = {}
    metadata: dict[str, str] = {}
    for name, cell in zip(columns, cells, strict=True):
        if name in _REQUIRED:
            row[name] = cell
        elif not cell:
            continue
        elif name == "verified":
            word = cell.strip().lower()
            row[name] = word in _TRUE if word in _TRUE | _FALSE else cell
        elif name == "metadata":
            row[name] = _json_or_text(cell)
        elif name == "locale":
            row[name] = cell
        else:
            metadata[name.removeprefix(_METADATA)] = cell
    return row | ({"metadata": metadata} if metadata else {})


def _json_or_text(cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except ValueError:
        return cell  # not an object: the row's model refuses it


READERS: Mapping[str, Callable[[], Reader]] = {"ndjson": NdjsonReader, "csv": CsvReader}
