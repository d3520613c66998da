"""How many notices of a corpus are read, and in which class, beside flufl.bounce on the same files in the same run.

The corpus is no part of this repository: `--corpus DIR`, or BOUNCES_CORPUS in the environment, names a folder with one
message in each file. If it holds an `expected.json` ({file: {"flufl": "failed" | "delayed" | "other" | null, "sisimai":
[{"action", "status", "code", "reason"}, …]}}), classes are compared with it, and each difference is printed.
"""

import email
import json
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from services.mail.bounces.notice_parser import Kind, Notice, read

from .options import Options
from .report import Row

NAME = "bounces"
ENVIRONMENT = "BOUNCES_CORPUS"
_REACH_CLASS = 98
_NO_NOTICES = frozenset([".json", ".md", ""])
# What sisimai calls what is not about a delivery.
_ANSWER, _COMPLAINT = "vacation", "feedback"


def run(options: Options) -> list[Row]:
    folder = options.corpus or os.environ.get(ENVIRONMENT)
    if not folder:
        return [Row(NAME, "notices read", 0, "", note=f"skipped: --corpus DIR or {ENVIRONMENT} names the corpus")]
    corpus = {file.name: file.read_bytes() for file in sorted(Path(folder).iterdir()) if file.suffix not in _NO_NOTICES}
    ours, our_seconds = _timed(read, corpus)
    theirs, their_seconds = _timed(class_by_flufl, corpus)
    expected = _expected(Path(folder))
    rows = [
        *_read_rows(ours, theirs),
        Row(
            NAME,
            "processor time of a notice",
            our_seconds * 1000 / len(corpus),
            "ms",
            "flufl.bounce",
            their_seconds * 1000 / len(corpus),
            our_seconds / their_seconds,
        ),
    ]
    return rows + (_compared_rows(ours, expected) if expected else [])


def _timed(reader: Callable[[bytes], Any], corpus: Mapping[str, bytes]) -> tuple[dict[str, Any], float]:
    reader(next(iter(corpus.values())))  # imports
    began = time.process_time()
    return {name: reader(raw) for name, raw in corpus.items()}, time.process_time() - began


def class_by_flufl(raw: bytes) -> str | None:
    """What the library alone says of the whole message."""
    from flufl.bounce import all_failures  # noqa: PLC0415 - as the service loads it

    logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL + 1)
    temporary, permanent = all_failures(email.message_from_bytes(raw))
    if permanent:
        return "permanent"
    return "transient" if temporary else None


def class_of(notice: Notice) -> str | None:
    """The class of the codes; without any, a failure is permanent and a delay transient."""
    if notice.kind is Kind.OTHER:
        return None
    if notice.kind in {Kind.COMPLAINT, Kind.DELIVERED}:
        return str(notice.kind)
    code = notice.status or str(notice.code or "")
    return "transient" if notice.kind is Kind.DELAYED or code.startswith("4") else "permanent"


def classes_expected(entry: Mapping[str, Any]) -> set[str]:
    """The classes that the other two give a file: flufl.bounce one, sisimai one for each recipient."""
    found = {{"failed": "permanent", "delayed": "transient"}.get(str(entry["flufl"]), "")}
    for each in entry["sisimai"] or []:
        if each["reason"] == _COMPLAINT:
            found.add("complaint")
        elif each["action"] == "delivered":
            found.add("delivered")
        elif each["reason"] != _ANSWER:
            found.add("transient" if each["status"].startswith("4") or each["action"] == "delayed" else "permanent")
    return found - {""}


def is_answer(name: str, entry: Mapping[str, Any]) -> bool:
    """Whether a file is an automatic answer, or one that the corpus files under what is no bounce."""
    return name.startswith(("rfc3834-", "not-")) or any(each["reason"] == _ANSWER for each in entry["sisimai"] or [])


def _expected(folder: Path) -> dict[str, dict[str, Any]]:
    file = folder / "expected.json"
    entries: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    return entries


def _read_rows(ours: Mapping[str, Notice], theirs: Mapping[str, str | None]) -> list[Row]:
    """All files, then those that each kind of reader read, beside what flufl.bounce alone reads of the same files."""
    by_kind: dict[str, list[str]] = {"standard reports": [], "flufl.bounce in the service": [], "rules of our own": []}
    for name, notice in ours.items():
        if notice.kind is not Kind.OTHER:
            by_kind[_kind_of_reader(notice.reader)].append(name)
    rows = [_share("read, all files", list(ours), ours, theirs, reach=96)]
    rows += [_share(f"read by {kind}", names, ours, theirs) for kind, names in by_kind.items() if names]
    for name in ours:
        if ours[name].kind is Kind.OTHER and theirs[name]:
            sys.stdout.write(f"{name}: read by flufl.bounce alone, as {theirs[name]}\n")
    readers = Counter(ours[name].reader for name in by_kind["rules of our own"])
    sys.stdout.write(f"rules of our own: {', '.join(f'{reader} {count}' for reader, count in readers.most_common())}\n")
    return rows


def _kind_of_reader(reader: str) -> str:
    if reader in {"RFC 3464", "ARF"}:
        return "standard reports"
    return "flufl.bounce in the service" if reader == "flufl.bounce" else "rules of our own"


def _share(
    measured: str,
    names: list[str],
    ours: Mapping[str, Notice],
    theirs: Mapping[str, str | None],
    *,
    reach: float | None = None,
) -> Row:
    mine = sum(ours[name].kind is not Kind.OTHER for name in names)
    other = sum(theirs[name] is not None for name in names)
    share, beside = 100 * mine / len(names), 100 * other / len(names)
    return Row(
        NAME,
        measured,
        share,
        "%",
        "flufl.bounce",
        beside,
        mine / other if other else None,
        "" if reach is None else f"≥ {reach:g} %",
        None if reach is None else share >= reach,
        f"{mine} and {other} of {len(names)}",
    )


def _compared_rows(ours: Mapping[str, Notice], expected: Mapping[str, dict[str, Any]]) -> list[Row]:
    answers = [name for name, entry in expected.items() if is_answer(name, entry)]
    known = [name for name, entry in expected.items() if classes_expected(entry) and name not in answers]
    read_of_known = [name for name in known if ours[name].kind is not Kind.OTHER]
    wrong = [name for name in read_of_known if class_of(ours[name]) not in classes_expected(expected[name])]
    taken = [name for name in answers if ours[name].kind is not Kind.OTHER]
    for name in wrong + taken:
        _print_difference(name, ours[name], expected[name])
    agreed = 100 * (1 - len(wrong) / len(read_of_known))
    note = f"{len(read_of_known) - len(wrong)} of {len(read_of_known)}"
    in_class = "of those, in a class that one of the others gives"
    return [
        Row(NAME, in_class, agreed, "%", reach="≥ 98 %", met=agreed >= _REACH_CLASS, note=note),
        Row(
            NAME,
            "automatic answers taken for a notice",
            len(taken),
            "",
            reach="0",
            met=not taken,
            note=f"of {len(answers)}",
        ),
    ]


def _print_difference(name: str, notice: Notice, entry: Mapping[str, Any]) -> None:
    others = [entry["flufl"], *((each["action"], each["status"], each["reason"]) for each in entry["sisimai"] or [])]
    sys.stdout.write(f"{name}: {notice.kind} {notice.status} {notice.code} by {notice.reader}; others: {others}\n")
