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
    parser.add_argument("names", nargs="*", metavar="name", help=f"some of: {', '.join(BENCHMARKS)}; default: all")
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds, to try it out")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - BENCHMARKS.keys():
        parser.error(f"unknown benchmark: {', '.join(sorted(unknown))}")
    print(f"{machine()['processors']} processors; load from {generator()}, mails into {sink_generator()}", flush=True)
    rows: list[Row] = []
    failed = False
    for name in arguments.names or BENCHMARKS:
        before = os.getloadavg()[0]
        print(f"{name} … (load average {before:.1f})", file=sys.stderr, flush=True)
        try:
            found = BENCHMARKS[name](quick=arguments.quick)
        except Exception:  # noqa: BLE001 - the other benchmarks still run
            traceback.print_exc()
            failed = True
            continue
        print(table(found), file=sys.stderr, flush=True)
        circumstances = {
            "quick": arguments.quick,
            "load_average": {"before": round(before, 2), "after": round(os.getloadavg()[0], 2)},
            "load_generator": generator(),
            "sink": sink_generator(),
        }
        keep(RESULTS, name, found, circumstances)
        rows += found
    print(table(rows))
    print(f"\nKept in {RESULTS.relative_to(ROOT)}. A number alone says little: compare ratios.")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
