"""How the benchmark of notices counts and compares."""

import json
from pathlib import Path

import pytest

from services.mail.bounces.notice_parser import Kind, Notice
from tests.benchmarks import bounces
from tests.benchmarks.options import Options
from tests.support.notices import in_free_words, quoted_header, report


@pytest.mark.parametrize(
    ("notice", "expected"),
    [
        (Notice(Kind.FAILED, status="5.1.1"), "permanent"),
        (Notice(Kind.FAILED, status="4.4.7", code=554), "transient"),
        (Notice(Kind.FAILED, code=421), "transient"),
        (Notice(Kind.FAILED), "permanent"),
        (Notice(Kind.DELAYED), "transient"),
        (Notice(Kind.DELIVERED), "delivered"),
        (Notice(Kind.COMPLAINT, status="abuse"), "complaint"),
        (Notice(Kind.OTHER), None),
    ],
)
def test_the_class_is_that_of_the_codes(notice: Notice, expected: str | None) -> None:
    assert bounces.class_of(notice) == expected


def _entry(flufl: str | None, action: str = "", status: str = "", reason: str = "") -> dict[str, object]:
    return {"flufl": flufl, "sisimai": [{"action": action, "status": status, "code": "", "reason": reason}]}


def test_each_of_the_others_may_give_a_class() -> None:
    assert bounces.classes_expected(_entry("failed", "failed", "4.4.7")) == {"permanent", "transient"}
    assert bounces.classes_expected(_entry("other", "delayed", "5.0.0")) == {"transient"}
    assert bounces.classes_expected(_entry("other", reason="feedback")) == {"complaint"}
    assert bounces.classes_expected({"flufl": None, "sisimai": None}) == set()


def test_the_table_counts_what_is_read_beside_the_library(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {
        "standard.eml": report(quoted_header("x")),
        "ours.eml": in_free_words("There was an error delivering your mail to <a@x.example>.\n\n550 5.1.1 no"),
        "rfc3834-01.eml": in_free_words("Away", sender="a@x.example", fields="Auto-Submitted: auto-replied\n"),
    }
    for name, raw in files.items():
        (tmp_path / name).write_bytes(raw)
    expected = {
        "standard.eml": _entry("failed", "failed", "5.1.1"),
        "ours.eml": _entry("other", "failed", "4.1.1"),
        "rfc3834-01.eml": _entry("other", reason="vacation"),
    }
    (tmp_path / "expected.json").write_text(json.dumps(expected))
    rows = {row.measured: row for row in bounces.run(Options(corpus=str(tmp_path)))}
    assert (rows["read, all files"].note, rows["read, all files"].met) == ("2 and 1 of 3", False)
    assert rows["read by rules of our own"].note == "1 and 0 of 1"
    assert rows["of those, in a class that one of the others gives"].note == "1 of 2"
    assert rows["automatic answers taken for a notice"].met
    assert "ours.eml: failed 5.1.1 550 by DragonFly Mail Agent" in capsys.readouterr().out


def test_without_a_corpus_the_benchmark_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(bounces.ENVIRONMENT, raising=False)
    (row,) = bounces.run(Options())
    assert row.note.startswith("skipped")
