"""`python -m tests.benchmarks [name …] [--quick]`: measure, print a table, keep it in var/bench.json."""

import argparse
import os
import sys
import traceback

from tests.support.databases import ROOT

from . import delivery, enumeration, growth, latency, recovery, relay, signup
from .load import generator
from .report import Row, keep, machine, table
from .sink import generator as sink_generator

BENCHMARKS = {
    "signup": signup.run,
    "relay": relay.run,
    "delivery": delivery.run,
    "latency": latency.run,
    "growth": growth.run,
    "recovery": recovery.run,
    "enumeration": enumeration.run,
}
RESULTS = ROOT / "var" / "bench.json"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of: {', '.join(BENCHMARKS)}; all unless said")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds: for trying it out")
    asked = parser.parse_args()
    if unknown := set(asked.names) - BENCHMARKS.keys():
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    print(f"{machine()['processors']} processors; load from {generator()}, mails into {sink_generator()}", flush=True)
    rows: list[Row] = []
    broken = False
    for name in asked.names or BENCHMARKS:
        before = os.getloadavg()[0]
        print(f"{name} … (load average {before:.1f})", file=sys.stderr, flush=True)
        try:
            found = BENCHMARKS[name](quick=asked.quick)
        except Exception:  # noqa: BLE001 - the others are measured all the same
            traceback.print_exc()
            broken = True
            continue
        print(table(found), file=sys.stderr, flush=True)
        circumstances = {
            "quick": asked.quick,
            "load_average": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
            "load_generator": generator(),
            "sink": sink_generator(),
        }
        keep(RESULTS, name, found, circumstances)
        rows += found
    print(table(rows))
    print(f"\nKept in {RESULTS.relative_to(ROOT)}. A number alone says little: compare ratios.")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main())
