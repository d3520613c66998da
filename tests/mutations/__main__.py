"""`make mutations`: break one line at a time in a copy of the tree; a test that names the promise must fail.

Exits 1 when a mutation was not caught, 2 when the tests fail without one: then "caught" would mean nothing.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import page
from .catalogue import CATALOGUE
from .mutation import Mutation
from .trial import Result, UnsoundError, attempt, copy_tree, require_sound

_AT_ONCE = 2


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="all, unless named")
    parser.add_argument("--fixed", action="store_true", help="the handful that CI runs each time")
    parser.add_argument("--list", action="store_true", help="print the catalogue and run nothing")
    parser.add_argument("--write", action="store_true", help="write the table of docs/mutations.md; needs all of them")
    arguments = parser.parse_args()
    chosen = [each for each in CATALOGUE if each.name in arguments.names or not arguments.names]
    chosen = [each for each in chosen if each.fixed or not arguments.fixed]
    if unknown := set(arguments.names) - {each.name for each in CATALOGUE}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if arguments.write and len(chosen) != len(CATALOGUE):
        parser.error("--write needs all mutations")
    if arguments.list:
        for each in chosen:
            print(f"{each.promise:9}{each.name}: {each.breaks}")
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        try:
            results = _run(chosen, Path(folder))
        except UnsoundError as error:
            print(error, file=sys.stderr)
            return 2
    caught = sum(result.caught_by is not None for result in results)
    print(f"{len(results)} mutations, {caught} caught, {time.monotonic() - began:.0f} s")
    if arguments.write:
        page.write(results)
    return int(caught < len(results))


def _run(chosen: Sequence[Mutation], work: Path) -> list[Result]:
    # PostgreSQL runs as another user when root runs this, and must reach its data.
    work.chmod(0o711)
    pristine = work / "pristine"
    copy_tree(pristine)
    passed = require_sound(pristine, chosen, work)
    print(f"without any mutation, {passed} tests pass", flush=True)
    with ThreadPoolExecutor(_AT_ONCE) as at_once:
        return list(at_once.map(lambda each: _tell(attempt(pristine, each, work)), chosen))


def _tell(result: Result) -> Result:
    mutation = result.mutation
    found = f"caught by {result.caught_by}" if result.caught_by else f"NOT CAUGHT: {result.why}"
    print(f"{mutation.promise:9}{mutation.name:36}{result.seconds:6.1f} s  {found}", flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
