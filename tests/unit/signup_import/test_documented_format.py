"""docs/how-to.md, `--help` and errors tell the format of an import file, and the examples can be imported."""

import argparse
import re

import pytest

from services.signup.cli import import_file
from services.signup.imports.file_format import CSV_EXAMPLE, NDJSON_EXAMPLE, OPTIONAL, REQUIRED
from services.signup.imports.file_lines import UnreadableFileError
from services.signup.imports.file_reader import READERS
from services.signup.imports.row_parser import Candidate, ImportRow, read_row
from tests.support.databases import ROOT

COLUMNS = REQUIRED | OPTIONAL
PAGE = (ROOT / "docs" / "how-to.md").read_text(encoding="utf-8")


def _help() -> str:
    commands = argparse.ArgumentParser().add_subparsers()
    import_file.add_parser(commands)
    return commands.choices["import"].format_help()


def _rows(media: str, text: str) -> list[Candidate]:
    reader = READERS[media]()
    rows = [read_row(record.line, record.raw or b"") for record in [*reader.feed(text.encode()), *reader.end()]]
    return [row for row in rows if isinstance(row, Candidate)]


def test_the_format_names_every_field_of_a_row() -> None:
    assert list(COLUMNS) == list(ImportRow.model_fields)
    assert [name for name, field in ImportRow.model_fields.items() if field.is_required()] == list(REQUIRED)


@pytest.mark.parametrize(("media", "example"), [("csv", CSV_EXAMPLE), ("ndjson", NDJSON_EXAMPLE)])
def test_every_line_of_the_examples_can_be_imported(media: str, example: str) -> None:
    assert [row.external_id for row in _rows(media, example)] == ["42", "43"]


def test_the_how_to_page_has_the_examples_and_every_column_with_its_format() -> None:
    assert f"```csv\n{CSV_EXAMPLE}```" in PAGE
    assert f"```json\n{NDJSON_EXAMPLE}```" in PAGE
    for name, format_ in COLUMNS.items():
        needed = "yes" if name in REQUIRED else "no"
        assert f"| `{name}` | {needed} | {format_}" in PAGE


def test_the_help_of_the_import_command_has_the_examples_and_every_column_with_its_format() -> None:
    shown = re.sub(r"^  ", "", _help(), flags=re.MULTILINE)
    assert CSV_EXAMPLE in shown
    assert NDJSON_EXAMPLE.strip() in shown
    assert all(f"{name} " in shown and format_ in shown for name, format_ in COLUMNS.items())


def test_the_error_for_a_missing_column_names_every_column_and_shows_an_example() -> None:
    with pytest.raises(UnreadableFileError) as refused:
        list(READERS["csv"]().feed(b"email,name\nada@example.com,Ada\n"))
    assert refused.value.columns == ["external_id"]
    detail = refused.value.detail
    assert all(name in detail for name in COLUMNS)
    example = re.findall(r"`([^`]*,[^`]*)`", detail)
    assert len(_rows("csv", "\n".join(example))) == 1


def test_the_error_names_every_missing_column_at_once() -> None:
    with pytest.raises(UnreadableFileError) as refused:
        list(READERS["csv"]().feed(b"email\nada@example.com\n"))
    assert refused.value.columns == ["external_id", "name"]
