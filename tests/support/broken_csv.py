"""Broken CSV files as people have sent them, each with the outcome of every line.

`persons(3)` are the rows 1 to 3. A file that is refused as a whole names a part of the reason.
"""

from dataclasses import dataclass, field

HEADER = b"external_id,email,name\n"
NOTED = b"external_id,email,name,metadata.note\n"
JSON = b"external_id,email,name,metadata\n"
UNCLOSED = "closing quote is missing"
BEHIND = "Text follows a closing quote"


def person(n: int, more: bytes = b"") -> bytes:
    return b"%d,p%d@x.example,Person %d%b\n" % (n, n, n, more)


def persons(count: int, start: int = 1, more: bytes = b"") -> bytes:
    return b"".join(person(n, more) for n in range(start, start + count))


@dataclass(frozen=True)
class Broken:
    """`good` are the external IDs of the people in the file; `bad` the reasons by line."""

    body: bytes
    good: list[int]
    bad: dict[int, str] = field(default_factory=dict)
    refused: str | None = None


def _refused(body: bytes, reason: str) -> Broken:
    return Broken(body, [], refused=reason)


BROKEN: dict[str, Broken] = {
    "an opening quote that is never closed": Broken(
        HEADER + persons(9) + b'10,p10@x.example,"Person 10\n' + persons(300, 11),
        [*range(1, 10), *range(11, 311)],
        {11: UNCLOSED},
    ),
    "an opening quote on the last line": Broken(HEADER + person(1) + b'2,p2@x.example,"B', [1], {3: UNCLOSED}),
    "an opening quote before fewer rows than a record may take": Broken(
        HEADER + b'1,p1@x.example,"A\n' + persons(3, 2), [2, 3, 4], {2: UNCLOSED}
    ),
    "an opening quote and, rows later, a closing one": Broken(
        HEADER + b'1,p1@x.example,"A\n' + persons(20, 2) + b'22,p22@x.example,Person 22"\n' + person(23),
        [*range(2, 24)],
        {2: UNCLOSED},
    ),
    "the same in metadata, which may hold line ends": Broken(
        NOTED + b'1,p1@x.example,A,"gold\n' + persons(5, 2, b",x") + b'7,p7@x.example,G,gold"\n',
        [*range(2, 8)],
        {2: UNCLOSED},
    ),
    "two opening quotes on neighboring rows": Broken(
        HEADER + b'1,p1@x.example,"A\n2,p2@x.example,"B\n' + person(3), [3], {2: UNCLOSED, 3: UNCLOSED}
    ),
    "an opening quote before the address": Broken(
        HEADER + b'1,"p1@x.example,A\n' + persons(2, 2), [2, 3], {2: UNCLOSED}
    ),
    "an opening quote at the very beginning of a row": Broken(
        HEADER + b'"1,p1@x.example,A\n' + persons(2, 2), [2, 3], {2: UNCLOSED}
    ),
    "a missing closing quote among quoted rows": Broken(
        HEADER + b'"1","p1@x.example","A\n"2","p2@x.example","B"\n"3","p3@x.example","C"\n', [2, 3], {2: UNCLOSED}
    ),
    "an inner quote that is not written twice": Broken(
        HEADER + b'1,p1@x.example,"A "the" B"\n' + person(2), [2], {2: BEHIND}
    ),
    "an inner quote in a field without quotes": Broken(HEADER + b'1,p1@x.example,A "the" B\n' + person(2), [1, 2]),
    "a backslash as escape": Broken(HEADER + b'1,p1@x.example,"A \\"the\\" B"\n' + person(2), [2], {2: BEHIND}),
    "JSON metadata without quotes around it": Broken(
        JSON + b'1,p1@x.example,A,{"plan": "gold", "x": 1}\n' + person(2, b","), [2], {2: "5 columns"}
    ),
    "JSON metadata that is not closed": Broken(
        JSON + b'1,p1@x.example,A,"{""plan"":\n""gold"",\n2,p2,B,x"\n' + person(3, b","),
        [3],
        {2: UNCLOSED, 3: BEHIND, 4: "email"},
    ),
    "a name over two lines": Broken(
        HEADER + b'1,p1@x.example,"A\nB"\n' + person(2), [2], {2: UNCLOSED, 3: "1 columns"}
    ),
    "metadata over more lines than allowed": Broken(
        NOTED + b'1,p1@x.example,A,"' + b"x\n" * 101 + b'"\n' + person(2, b","),
        [2],
        {2: UNCLOSED} | dict.fromkeys(range(3, 103), "1 columns") | {103: UNCLOSED},
    ),
    "too few columns": Broken(HEADER + b"1,p1@x.example\n" + person(2), [2], {2: "2 columns"}),
    "too many columns": Broken(HEADER + b"1,p1@x.example,A,B\n" + person(2), [2], {2: "4 columns"}),
    "blank lines, empty cells and a last line without an end": Broken(
        HEADER + b"\n\r\n" + person(1) + b",,\n" + person(2).strip(), [1, 2], {5: "external_id"}
    ),
    "Latin-1 in one row": Broken(HEADER + b"1,p1@x.example,\xc5sa\n" + person(2), [2], {2: "not UTF-8"}),
    "a NUL byte in one row": Broken(HEADER + b"1,p1@x.example,A\0\n" + person(2), [2], {2: "control characters"}),
    "a CR inside a row": Broken(HEADER + b"1,p1@x.example,A\rB\n" + person(2), [2], {2: "A CR stands inside"}),
    "CR CR LF as line end": Broken((HEADER + persons(2)).replace(b"\n", b"\r\r\n"), [1, 2]),
    "a row that is too long": Broken(
        HEADER + b"1,p1@x.example," + b"A" * 70_000 + b"\n" + person(2), [2], {2: "longer than"}
    ),
    "an opening quote before a row that is too long": Broken(
        HEADER + b'1,p1@x.example,"A\n' + b"2,p2@x.example," + b"B" * 70_000 + b"\n" + person(3),
        [3],
        {2: UNCLOSED, 3: "longer than"},
    ),
    "the header twice": Broken(HEADER + person(1) + HEADER + person(2), [1, 2], {3: "email"}),
    "CR alone as line end": _refused((HEADER + persons(3)).replace(b"\n", b"\r"), "end in CR alone"),
    "CR alone in a file longer than a line may be": _refused(
        (HEADER + persons(4000)).replace(b"\n", b"\r"), "end in CR alone"
    ),
    "UTF-16 with a byte order mark": _refused((HEADER + persons(3)).decode().encode("utf-16"), "UTF-16"),
    "UTF-16 without one": _refused((HEADER + persons(3)).decode().encode("utf-16-le"), "UTF-16"),
    "UTF-16, big endian, without one": _refused((HEADER + persons(3)).decode().encode("utf-16-be"), "UTF-16"),
    "UTF-32": _refused((HEADER + persons(3)).decode().encode("utf-32"), "UTF-32"),
    "an Excel workbook": _refused(b"PK\x03\x04" + bytes(range(256)) * 300, "Excel workbook"),
    "gzip": _refused(b"\x1f\x8b" + bytes(range(256)) * 300, "compressed with gzip"),
    "no rows and no header": _refused(b"", "The file is empty"),
    "blank lines only": _refused(b"\n\r\n\n", "The file is empty"),
    "no header": _refused(persons(2), "There is no such column"),
    "semicolons": _refused(HEADER.replace(b",", b";"), "separated by semicolons"),
    "tabs": _refused(HEADER.replace(b",", b"\t"), "separated by tabs"),
    "a header with a missing quote": _refused(b'external_id,"email,name\n' + person(1), "first line"),
    "a header that is too long": _refused(b"external_id," * 7000 + b"email,name\n" + person(1), "longer than"),
    "a header without a required column": _refused(b"email,name\np1@x.example,A\n", "external_id is the person's ID"),
}
