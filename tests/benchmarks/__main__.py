"""`python -m tests.benchmarks [name …] [--quick]`: measure, print a table, keep it in var/bench.jsonl.

The name `report` writes docs/performance.md from what the file holds, after the other names were measured.
"""

import argparse
import os
import shutil
import sys
import traceback
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.databases import ROOT

from . import (
    alternative,
    bounces,
    cells,
    console,
    cost,
    delivery,
    enumeration,
    growth,
    held,
    latency,
    performance,
    recovery,
    relay,
    results,
    scale,
    signup,
)
from .load import generator
from .machine import machine, versions
from .options import Options
from .report import Row, table
from .sink import generator as sink_generator

BENCHMARKS: dict[str, Callable[[Options], list[Row]]] = {
    "signup": signup.run,
    "relay": relay.run,
    "delivery": delivery.run,
    "latency": latency.run,
    "cost": cost.run,
    "alternative": alternative.run,
    "scale": scale.run,
    "recovery": recovery.run,
    "cells": cells.run,
    "enumeration": enumeration.run,
    "held": held.run,
    "growth": growth.run,
    "console": console.run,
    "bounces": bounces.run,
}
REPORT = "report"
RESULTS = ROOT / "var" / "bench.jsonl"
OUTPUT = ROOT / "docs" / "performance.md"


def main() -> int:
    parser = _parser()
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - BENCHMARKS.keys() - {REPORT}:
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    names = [name for name in arguments.names or BENCHMARKS if name != REPORT]
    failed = _measure_all(names, arguments) if names else False
    if REPORT in arguments.names:
        for file in performance.write(arguments.results, arguments.output):
            print(f"Written: {file}")
    return int(failed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="name", help=f"some of: {', '.join(BENCHMARKS)}; or {REPORT}; default: measure all"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, to try it out")
    parser.add_argument("--rounds", type=int, help="rounds of each benchmark that has rounds (default 5; recovery 3)")
    parser.add_argument("--seconds", type=float, help="length of one load at full speed (6 to 20)")
    parser.add_argument("--steady-seconds", type=float, help="length of a load at a steady rate (600; latency 60)")
    parser.add_argument("--idle-seconds", type=float, help="how long `cost` watches the idle product (300)")
    parser.add_argument("--rate", type=float, help="signups a second at a steady rate (cost 250, held 500, …)")
    parser.add_argument(
        "--people", type=int, help="people and mails behind `growth` (10,000,000) and `console` (1,000,000)"
    )
    parser.add_argument("--corpus", help=f"folder of notices that `bounces` reads (or {bounces.ENVIRONMENT})")
    parser.add_argument("--revision", default="", help="of the code that is measured; kept with the results")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that keeps them, as JSON lines")
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"what `{REPORT}` writes")
    return parser


def _measure_all(names: list[str], arguments: argparse.Namespace) -> bool:
    """Whether some benchmark failed; the others are measured all the same."""
    said = vars(arguments)
    options = Options(**{name: said[name] for name in Options.__dataclass_fields__})
    for tool, package, instead in (("wrk", "wrk", "our own client"), ("smtp-sink", "postfix", "our own sink")):
        if not shutil.which(tool):
            print(f"{tool} is not installed (apt-get install {package}): {instead} takes more of the processor")
    print(f"{os.cpu_count()} processors; load from {generator()}, mails into {sink_generator()}", flush=True)
    rows: list[Row] = []
    failed = False
    for name in names:
        found = _measure(name, options, arguments)
        failed |= found is None
        rows += found or []
    print(table(rows))
    print(f"\nKept in {arguments.results}. A number alone says little: compare ratios.")
    return failed


def _measure(name: str, options: Options, arguments: argparse.Namespace) -> list[Row] | None:
    before, at = os.getloadavg()[0], datetime.now(UTC)
    print(f"{name} … (load average {before:.1f})", file=sys.stderr, flush=True)
    try:
        found = BENCHMARKS[name](options)
    except Exception:  # noqa: BLE001 - the other benchmarks still run
        traceback.print_exc()
        return None
    print(table(found), file=sys.stderr, flush=True)
    circumstances: dict[str, Any] = {
        "at": at.isoformat(timespec="seconds"),
        "minutes": round((datetime.now(UTC) - at).total_seconds() / 60, 1),
        "revision": arguments.revision,
        "quick": options.quick,
        "arguments": {name: value for name, value in asdict(options).items() if value and name != "quick"},
        "load_average": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
        "load_generator": generator(),
        "sink": sink_generator(),
        "machine": machine(),
        "versions": versions(),
    }
    results.append(arguments.results, found, circumstances)
    return found


if __name__ == "__main__":
    sys.exit(main())
