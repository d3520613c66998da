"""The columns that a CSV header names: which headers are valid, and what the cells of a record mean. Pure."""

from collections.abc import Sequence
from typing import Any

import orjson

from .file_format import HEADER_RULE, METADATA_KEY, OPTIONAL, REQUIRED
from .file_lines import NOT_UTF8_FILE, UnreadableFileError

_TRUE, _FALSE = frozenset({"true", "yes", "1"}), frozenset({"false", "no", "0"})
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_MAX_SHOWN = 100


class Columns:
    """The names of a valid header, in file order."""

    def __init__(self, cells: Sequence[str]) -> None:
        """Raises UnreadableFileError, which names the wrong columns."""
        self.names = [cell.strip() for cell in cells]
        _check_names(self.names)
        self._email = self.names.index("email")

    def __len__(self) -> int:
        return len(self.names)

    def is_row(self, cells: Sequence[str]) -> bool:
        """Whether these cells look like a row: as many as the header names, with an address in its place."""
        return len(cells) == len(self.names) and "@" in cells[self._email]

    def may_span_lines(self, cells: Sequence[str]) -> bool:
        """Whether every line end in these cells has a meaning. In other cells it shows that a quote is missing."""
        return len(cells) == len(self.names) and all(
            "\n" not in cell or _may_hold_line_ends(name, cell) for name, cell in zip(self.names, cells, strict=True)
        )

    def as_object(self, cells: Sequence[str]) -> dict[str, Any]:
        """The record as an NDJSON object. Empty optional cells are left out."""
        row: dict[str, Any] = {}
        metadata: dict[str, str] = {}
        for name, cell in zip(self.names, cells, strict=True):
            if name in REQUIRED:
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
                metadata[name.removeprefix(METADATA_KEY)] = cell
        return row | ({"metadata": metadata} if metadata else {})


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if "\0" in name:
            raise UnreadableFileError(NOT_UTF8_FILE)
        if name not in REQUIRED | OPTIONAL and not (name.startswith(METADATA_KEY) and name != METADATA_KEY):
            shown = name.encode("utf-8", "replace").decode()[:_MAX_SHOWN]
            raise UnreadableFileError(_unknown(name), [shown])
        if names.count(name) > 1:
            raise UnreadableFileError("The column is named twice", [name])
        if name == "metadata" and any(other.startswith(METADATA_KEY) for other in names):
            raise UnreadableFileError("Give either `metadata` or columns `metadata.KEY`", [name])
    if missing := [name for name in REQUIRED if name not in names]:
        what = "This column is missing" if len(missing) == 1 else "These columns are missing"
        hint = f". external_id is {REQUIRED['external_id']}" if "external_id" in missing else ""
        raise UnreadableFileError(f"{what}. {HEADER_RULE}{hint}", missing)


def _unknown(name: str) -> str:
    if not name:
        return f"A column has no name. {HEADER_RULE}"
    for separator, called in _OTHER_SEPARATORS.items():
        if separator in name:
            return f"The columns are separated by {called}; separate them by commas. {HEADER_RULE}"
    return f"There is no such column. {HEADER_RULE}"


def _may_hold_line_ends(name: str, cell: str) -> bool:
    if name == "metadata":
        return _json_or_text(cell) is not cell
    # These two are stripped; a line end inside them is always wrong.
    return name.startswith(METADATA_KEY) or (name in {"name", "verified"} and "\n" not in cell.strip())


def _json_or_text(cell: str) -> Any:
    try:
        return orjson.loads(cell)
    except ValueError:
        return cell  # not an object: the row's model refuses it
