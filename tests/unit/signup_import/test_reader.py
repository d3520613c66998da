"""The file reader gives the same records for any chunks."""

import csv
import io

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.signup.imports.file_lines import MAX_LINE_BYTES, Record, UnreadableFileError
from services.signup.imports.file_reader import READERS
from tests.support.broken_csv import HEADER, NOTED


def read(media: str, *chunks: bytes) -> list[Record]:
    reader = READERS[media]()
    records = [record for chunk in chunks for record in reader.feed(chunk)]
    return records + list(reader.end())


def in_chunks(body: bytes, size: int) -> list[bytes]:
    return [body[start : start + size] for start in range(0, len(body), size)]


def names(records: list[Record]) -> list[tuple[int, str | None]]:
    return [(record.line, orjson.loads(record.raw)["name"] if record.raw else None) for record in records]


@given(st.lists(st.binary(max_size=12)), st.integers(1, 7))
def test_ndjson_gives_the_same_records_for_any_chunks(lines: list[bytes], size: int) -> None:
    body = b"\n" + b"\n".join(lines)
    whole = read("ndjson", body)
    assert read("ndjson", *in_chunks(body, size)) == whole
    assert [record.line for record in whole] == [
        number for number, line in enumerate(body.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1) if line.strip()
    ]


FIELD = st.text(st.sampled_from('ab",;\r é'), max_size=8)
NOTE = st.text(st.sampled_from('ab",\n;\r é'), max_size=8)


@given(st.lists(st.tuples(FIELD, FIELD, FIELD, NOTE), max_size=8), st.integers(1, 9))
def test_csv_is_read_back_as_written_for_any_chunks(rows: list[tuple[str, ...]], size: int) -> None:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    body = NOTED + text.getvalue().encode()
    records = read("csv", *in_chunks(body, size))
    assert records == read("csv", body)
    parsed = [orjson.loads(record.raw or b"") for record in records]
    # Line breaks in a cell are kept, except that CRLF becomes LF.
    assert [
        (row["external_id"], row["email"], row["name"], row.get("metadata", {"note": ""})["note"]) for row in parsed
    ] == [tuple(cell.replace("\r\n", "\n") for cell in row) for row in rows]


@given(st.binary(max_size=200), st.integers(1, 20))
def test_no_bytes_crash_the_readers(body: bytes, size: int) -> None:
    read("ndjson", b"\n", *in_chunks(body, size))
    for record in read("csv", HEADER, *in_chunks(body, size)):
        assert (record.raw is None) == (record.reason is not None)


def test_a_csv_record_over_several_lines_has_the_number_of_its_first() -> None:
    body = NOTED + b'1,a@x,"A\n","one\ntwo, three\n"\n\n2,b@x,C,\n'
    assert [(record.line, record.lines, record.reason) for record in read("csv", body)] == [(2, 4, None), (7, 1, None)]


@pytest.mark.parametrize("media", READERS)
def test_a_line_that_is_too_long_is_dropped_and_reading_continues_after_it(media: str) -> None:
    row = {"ndjson": b'{"name": "%b"}\n', "csv": b"1,a@x,%b\n"}[media]
    body = (HEADER if media == "csv" else b"\n") + row % (b"A" * MAX_LINE_BYTES) + row % b"B"
    for chunks in ([body], in_chunks(body, 1000)):
        assert names(read(media, *chunks)) == [(2, None), (3, "B")]


@pytest.mark.parametrize(
    ("cell", "verified"), [("TRUE", True), ("yes", True), ("0", False), ("False", False), ("perhaps", "perhaps")]
)
def test_verified_in_csv_accepts_the_usual_words(cell: str, verified: object) -> None:
    (record,) = read("csv", f"external_id,email,name,verified\n1,a@x,A,{cell}\n".encode())
    assert orjson.loads(record.raw or b"")["verified"] == verified


def test_metadata_in_csv_is_a_json_object_or_columns_of_its_keys() -> None:
    (first,) = read("csv", b'external_id,email,name,metadata\n1,a@x,A,"{""plan"": ""gold""}"\n')
    (second,) = read("csv", b"external_id,email,name,metadata.plan,metadata.since\n1,a@x,A,gold,\n")
    (third,) = read("csv", b'external_id,email,name,metadata\n1,a@x,A,"{\n  ""plan"":\n  ""gold""\n}"\n')
    assert orjson.loads(first.raw or b"") == orjson.loads(second.raw or b"") == orjson.loads(third.raw or b"")


def test_a_header_without_a_line_break_is_read_at_the_end() -> None:
    assert read("csv", HEADER.strip()) == []
    with pytest.raises(UnreadableFileError):
        read("csv", b"external_id,email")
