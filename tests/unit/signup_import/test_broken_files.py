"""Every line of a broken file is accounted for, whatever the pieces in which the file arrives."""

import random
import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.signup.imports.csv_reader import MAX_RECORD_LINES
from services.signup.imports.file_lines import MAX_LINE_BYTES, Record, UnreadableFileError
from services.signup.imports.file_reader import READERS, Reader
from services.signup.imports.row_parser import Candidate, Unreadable, read_row
from tests.support.broken_csv import BROKEN, HEADER, NOTED, Broken, person, persons

REFUSED = {name: file for name, file in BROKEN.items() if file.refused}
READ = {name: file for name, file in BROKEN.items() if not file.refused}


def in_pieces(body: bytes, cuts: Sequence[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    return [body[start:end] for start, end in pairwise(edges)]


def read(reader: Reader, pieces: Sequence[bytes]) -> list[Record]:
    records = [record for piece in pieces for record in reader.feed(piece)]
    return records + list(reader.end())


def read_csv(body: bytes, cuts: Sequence[int] = ()) -> list[Record]:
    return read(READERS["csv"](), in_pieces(body, cuts))


def parsed(records: Sequence[Record]) -> tuple[list[str], dict[int, str]]:
    """The external IDs of the people, and the reasons by line, as the worker sees them."""
    rows = [
        read_row(record.line, record.raw) if record.raw else Unreadable(record.line, record.reason or "")
        for record in records
    ]
    people = [row.external_id for row in rows if isinstance(row, Candidate)]
    return people, {row.line: row.reason for row in rows if isinstance(row, Unreadable)}


@pytest.mark.parametrize("name", READ)
def test_a_broken_file_loses_only_its_broken_lines(name: str) -> None:
    file = READ[name]
    people, reasons = parsed(read_csv(file.body))
    assert people == [str(n) for n in file.good]
    assert list(reasons) == list(file.bad)
    for line, reason in file.bad.items():
        assert reason in reasons[line]


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_that_cannot_be_read_is_refused_saying_what_is_wrong(name: str) -> None:
    file = REFUSED[name]
    with pytest.raises(UnreadableFileError, match=re.escape(file.refused or "")):
        read_csv(file.body)


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_gives_the_same_result_in_any_pieces(name: str) -> None:
    file = BROKEN[name]
    chance = random.Random(name)
    whole = _result(file)
    for count in (1, 7, 300):
        assert _result(file, [chance.randrange(len(file.body) + 1) for _ in range(count)]) == whole


def _result(file: Broken, cuts: Sequence[int] = ()) -> list[Record] | str:
    try:
        return read_csv(file.body, cuts)
    except UnreadableFileError as error:
        return error.detail


# Rows with and without quotes, and what a person, an editor or a program does to them.
ROWS = st.lists(
    st.sampled_from(
        [
            "%d,p%d@x.example,Ada,gold",
            '"%d","p%d@x.example","Ada","gold"',
            '%d,p%d@x.example,"Ada, the ""first""","two\nlines, of text"',
            "%d,p%d@x.example,Ada,",
            "",
        ]
    ),
    max_size=12,
)
MUTATIONS = st.lists(
    st.tuples(st.integers(0, 10_000), st.sampled_from(['"', '"', '""', "\n", ",", "\r", '",', ',"', "\udcff", "DEL"])),
    max_size=6,
)


def mutated(rows: Sequence[str], mutations: Sequence[tuple[int, str]]) -> bytes:
    text = "".join((row.replace("%d", str(n)) if row else row) + "\n" for n, row in enumerate(rows))
    for place, change in mutations:
        at = place % (len(text) + 1)
        text = text[:at] + text[at + 1 :] if change == "DEL" else text[:at] + change + text[at:]
    return text.encode("utf-8", "surrogateescape")


@given(ROWS, MUTATIONS, st.lists(st.integers(0, 10_000), max_size=20))
def test_every_line_of_a_mutated_file_belongs_to_exactly_one_record_in_any_pieces(
    rows: list[str], mutations: list[tuple[int, str]], cuts: list[int]
) -> None:
    body = NOTED + mutated(rows, mutations)
    records = read_csv(body, cuts)
    assert records == read_csv(body)
    lines = body.split(b"\n")
    covered = [line for record in records for line in range(record.line, record.line + record.lines)]
    blank = [number for number, line in enumerate(lines, 1) if not line.strip(b"\r") and number not in covered]
    assert sorted([1, *covered, *blank]) == list(range(1, len(lines) + 1))
    assert all(record.reason for record in records if record.raw is None)


@given(ROWS, MUTATIONS, st.lists(st.integers(0, 10_000), max_size=20))
def test_a_line_that_is_a_row_never_disappears_into_another_record(
    rows: list[str], mutations: list[tuple[int, str]], cuts: list[int]
) -> None:
    body = NOTED + mutated(rows, mutations)
    begins = {record.line for record in read_csv(body, cuts)}
    for number, line in enumerate(body.split(b"\n")[1:], 2):
        people, _ = parsed(read_csv(NOTED + line))
        assert not people or number in begins


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.sampled_from(['"', '""', '",', ',"', ","])), max_size=9),
    st.lists(st.integers(0, 10_000)),
)
def test_without_metadata_every_line_is_one_record_wherever_quotes_stand(
    mutations: list[tuple[int, str]], cuts: list[int]
) -> None:
    body = mutated(["%d,p%d@x.example,Ada", '%d,p%d@x.example,"Ada, the first"'] * 3, mutations)
    lines = [number for number, line in enumerate(body.split(b"\n"), 2) if line]
    assert [record.line for record in read_csv(HEADER + body, cuts)] == lines


@pytest.mark.parametrize("quotes", [1, 100])
def test_stray_quotes_in_a_large_file_cost_their_own_lines(quotes: int) -> None:
    rows = persons(20_000).split(b"\n")
    for n in range(quotes):
        rows[9 + n * 199] = rows[9 + n * 199].replace(b"Person", b'"Person')
    people, reasons = parsed(read_csv(HEADER + b"\n".join(rows), range(0, 900_000, 4099)))
    assert (len(people), len(reasons)) == (20_000 - quotes, quotes)


def test_a_record_may_take_as_many_lines_as_allowed_and_no_more() -> None:
    def record(lines: int) -> bytes:
        return b'1,p1@x.example,A,"' + b"\n" * (lines - 1) + b'"\n'

    assert [found.lines for found in read_csv(NOTED + record(MAX_RECORD_LINES))] == [MAX_RECORD_LINES]
    people, reasons = parsed(read_csv(NOTED + record(MAX_RECORD_LINES + 1) + person(2, b",")))
    assert (people, list(reasons)) == (["2"], [2, 2 + MAX_RECORD_LINES])


def test_waiting_for_a_closing_quote_ends_when_a_record_has_more_characters_than_a_line_may_have_bytes() -> None:
    reader = READERS["csv"]()
    lines = MAX_LINE_BYTES // 1000 + 1
    begun = list(reader.feed(NOTED + b'1,p1@x.example,A,"' + (b"A" * 1000 + b"\n") * lines))
    assert [record.line for record in begun] == list(range(2, 2 + lines))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"name": "A"}\r{"name": "B"}\r', "end in CR alone"),
        (b'{"name": "A"}\r' * 20_000, "end in CR alone"),
        ('{"name": "A"}\n'.encode("utf-16"), "UTF-16"),
        ('{"name": "A"}\n'.encode("utf-16-le"), "UTF-16"),
        ('{"name": "A"}\n'.encode("utf-32-be"), "UTF-32"),
        (b"PK\x03\x04" + bytes(99), "Excel"),
    ],
)
def test_an_ndjson_file_that_is_not_lines_of_utf_8_is_refused_saying_what_is_wrong(body: bytes, reason: str) -> None:
    for cuts in ([], [1], [1, 2, 3], range(0, len(body), 1000)):
        with pytest.raises(UnreadableFileError, match=reason):
            read(READERS["ndjson"](), in_pieces(body, cuts))


def test_a_carriage_return_between_the_parts_of_a_json_object_is_allowed() -> None:
    records = read(READERS["ndjson"](), [b'{"name":\r{"a": "b}"}\r}\r\n{"name": "B"}\n'])
    assert [record.line for record in records] == [1, 2]
