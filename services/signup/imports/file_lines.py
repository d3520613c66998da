"""Cuts bytes into numbered lines while they arrive, and refuses files that are not lines of UTF-8. Pure."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

# The limit for a signup body (API.md): no valid row is longer.
MAX_LINE_BYTES = 64 * 1024
TOO_LONG = f"The line is longer than {MAX_LINE_BYTES} bytes"
NOT_UTF8_FILE = "The file is UTF-16 or UTF-32; save it as UTF-8"
BARE_CR_FILE = "The lines end in CR alone; save the file with LF or CRLF as line end"
_BOM = b"\xef\xbb\xbf"
_OTHER_FILES = {
    b"\xff\xfe": NOT_UTF8_FILE,
    b"\xfe\xff": NOT_UTF8_FILE,
    b"PK\x03\x04": "The file is a ZIP archive or an Excel workbook; save it as CSV or NDJSON",
    b"\x1f\x8b": "The file is compressed with gzip; send it uncompressed",
}


@dataclass(frozen=True, slots=True)
class Record:
    """`raw` is the JSON as received, or built from CSV. It is None when `reason` says why there is none.

    It begins at `line` and takes `lines` lines of the file.
    """

    line: int
    raw: bytes | None
    reason: str | None = None
    lines: int = 1


class UnreadableFileError(Exception):
    """No record of this file can be read. `columns` names the wrong columns of a CSV header."""

    def __init__(self, detail: str, columns: Sequence[str] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.columns = columns


class Lines:
    """Bytes in, numbered whole lines out. None stands for a line over the length limit.

    `bare_cr` matches a first line that is several lines which end in CR alone.
    """

    def __init__(self, bare_cr: re.Pattern[bytes]) -> None:
        self._bare_cr = bare_cr
        self._number = 0
        self._rest = b""
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        """The lines that `chunk` completes. May raise UnreadableFileError."""
        *whole, self._rest = (self._rest + chunk).split(b"\n")
        for line in whole:
            yield self._next(line)
        if len(self._rest) > MAX_LINE_BYTES:
            self._check_start(self._rest)
            self._skipping, self._rest = True, b""

    def end(self) -> Iterator[tuple[int, bytes | None]]:
        """The last line, when no line end follows it. May raise UnreadableFileError."""
        if self._rest or self._skipping:
            yield self._next(self._rest)
        self._rest = b""

    def _next(self, line: bytes) -> tuple[int, bytes | None]:
        self._check_start(line)
        self._number += 1
        too_long, self._skipping = self._skipping or len(line) > MAX_LINE_BYTES, False
        if self._number == 1:
            line = line.removeprefix(_BOM)
        return self._number, None if too_long else line.removesuffix(b"\r")

    def _check_start(self, line: bytes) -> None:
        """Every text that an import can begin with is ASCII, which UTF-16 and UTF-32 fill up with NUL bytes."""
        if self._number or self._skipping:
            return
        for signature, detail in _OTHER_FILES.items():
            if line.startswith(signature):
                raise UnreadableFileError(detail)
        if b"\0" in line[:4]:
            raise UnreadableFileError(NOT_UTF8_FILE)
        if self._bare_cr.search(line[:MAX_LINE_BYTES]):
            raise UnreadableFileError(BARE_CR_FILE)
