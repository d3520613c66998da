"""Cuts a body into records while it arrives, without holding all of it. Pure: bytes in, records out.

Unreadable input becomes a record with a reason, and reading continues after it: every line that is not blank is part of
one record. A file of which no line can be read is refused as a whole.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from .csv_reader import CsvReader
from .file_lines import TOO_LONG, Lines, Record

# JSON allows CR between its parts, but no JSON text has these parts.
_BARE_CR = re.compile(rb"\}[ \t]*\r[ \t\r]*\{")


class Reader(Protocol):
    def feed(self, chunk: bytes) -> Iterator[Record]:
        """The records that `chunk` completes. May raise UnreadableFileError."""

    def end(self) -> Iterator[Record]:
        """The remaining records at the end of the body. May raise UnreadableFileError."""


class NdjsonReader:
    """One JSON object per line; blank lines are skipped."""

    def __init__(self) -> None:
        self._lines = Lines(_BARE_CR)

    def feed(self, chunk: bytes) -> Iterator[Record]:
        return self._records(self._lines.feed(chunk))

    def end(self) -> Iterator[Record]:
        return self._records(self._lines.end())

    @staticmethod
    def _records(lines: Iterator[tuple[int, bytes | None]]) -> Iterator[Record]:
        for number, line in lines:
            if line is None:
                yield Record(number, None, TOO_LONG)
            elif line.strip():
                yield Record(number, line)


READERS: Mapping[str, Callable[[], Reader]] = {"ndjson": NdjsonReader, "csv": CsvReader}
