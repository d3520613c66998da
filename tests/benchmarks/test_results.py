"""What is kept of a measurement, and how it is written down."""

from pathlib import Path
from typing import Any

from tests.benchmarks import performance, pictures, report, results
from tests.benchmarks.report import Row


def circumstances(at: str, *, quick: bool = False) -> dict[str, Any]:
    return {
        "at": at,
        "minutes": 1.5,
        "revision": "abc1234",
        "quick": quick,
        "arguments": {"steady_seconds": 20.0},
        "load_average": {"before": 0.1, "after": 1.9},
        "load_generator": "wrk",
        "sink": "smtp-sink",
        "machine": {"processors": 2, "model": "A", "memory_gib": 8, "kernel": "6", "python": "3.11"},
        "versions": {"fastapi": "1"},
    }


def test_measuring_one_benchmark_keeps_the_results_of_the_others(tmp_path: Path) -> None:
    file = tmp_path / "var" / "bench.jsonl"
    results.append(file, [Row("a", "m", 1.0, "s", values=(1.0, 2.0)), Row("a", "n", 3.0, "s")], circumstances("1"))
    results.append(file, [Row("b", "m", 2.0, "s")], circumstances("2"))
    kept = results.latest(file)
    assert [row.measured for row in kept["a"].rows] == ["m", "n"]
    assert kept["a"].rows[0].values == (1.0, 2.0)
    assert kept["b"].rows[0].value == 2


def test_a_later_run_takes_the_place_of_an_earlier_one_but_a_quick_one_never_of_a_full_one(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    for at, value, quick in (("1", 1.0, True), ("2", 2.0, False), ("3", 3.0, False), ("4", 4.0, True)):
        results.append(file, [Row("a", "m", value, "s")], circumstances(at, quick=quick))
    assert [row.value for row in results.latest(file)["a"].rows] == [3.0]


def test_the_median_of_the_rounds_comes_with_their_spread() -> None:
    row = report.over_rounds("b", "m", [3, 1, 2], "ms", at_most=1.5)
    assert (row.value, row.met, row.values) == (2, False, (3, 1, 2))
    assert performance.cells(row)[1:4] == ("2.00 ms", "1.00 to 3.00", "3")


def test_a_cost_may_be_judged_by_how_far_it_rises() -> None:
    row = report.compare("b", "m", [2.3], "first", [2.0], "ms", at_most=1.1)
    assert row.met is False
    assert row.reach == "≤ 1.1"


def test_the_page_has_a_table_for_each_benchmark_and_two_small_pictures(tmp_path: Path) -> None:
    file, page = tmp_path / "bench.jsonl", tmp_path / "performance.md"
    rows = [
        report.over_rounds("cost", "full load: mail API", [0.2, 0.3], "ms"),
        report.over_rounds("cost", "steady 250/s for 600 s: all", [2.0, 2.1, 2.0], "ms", note="one run"),
    ]
    results.append(file, rows, circumstances("2026-11-29T12:00:00+00:00"))
    results.append(file, [Row("held", "accepted", 500.0, "/s")], circumstances("2026-11-29T13:00:00+00:00"))
    written = performance.write(file, page)
    assert [path.suffix for path in written] == [".md", ".svg", ".svg"]
    assert all(path.stat().st_size < 150_000 for path in written)
    text = page.read_text()
    assert "| full load: mail API | 0.25 ms | 0.20 to 0.30 | 2 |" in text
    assert "revision abc1234, 1.5 minutes, --steady-seconds 20.0" in " ".join(text.split())
    assert "## held" in text


def test_the_bars_show_both_ways_where_both_were_measured() -> None:
    rows = (
        Row("alternative", "this product, cost: all", 1.0, "ms"),
        Row("alternative", "this product, cost: mail API", 0.4, "ms"),
        Row("alternative", "usual way, cost: API", 3.0, "ms"),
    )
    bars = pictures.cost_bars({"alternative": results.Run(rows, {})})
    assert bars == {"this product": {"mail API": 0.4}, "usual way": {"API": 3.0}}


def test_a_note_is_written_once_with_the_rows_it_belongs_to() -> None:
    rows = [Row("a", f"m{n}", 1.0, "s", note="over 8 s") for n in range(4)]
    rows += [Row("a", "x", 1.0, "s", note="0 lost"), Row("a", "y", 1.0, "s", note="rounds: 5")]
    assert performance.notes_of(rows) == ["4 rows: over 8 s", "x: 0 lost"]
