"""`make lab SEED=… MINUTES=…`: run the lab, and write var/lab/SEED/record.json and page.html.

Exits 1 when a promise was broken.
"""

import argparse
import signal
import sys
from pathlib import Path

from .faults import REGISTRY
from .load import Rates
from .page import render
from .record import Record
from .schedule import draw_schedule
from .trial import Trial

_FOLDER = Path(__file__).resolve().parents[2] / "var" / "lab"
_ROWS_SHOWN = 10


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--load", type=float, default=1.0, help="the load, as a multiple of the usual one")
    parser.add_argument("--schedule", action="store_true", help="print the schedule and run nothing")
    arguments = parser.parse_args()
    schedule = draw_schedule(arguments.seed, arguments.minutes)
    if arguments.schedule:
        for planned in schedule:
            print(f"{planned.at:7.1f}  {planned.seconds:5.1f} s  {planned.fault}  {planned.parameters}")
        return 0
    print(f"seed {arguments.seed}, {arguments.minutes:g} minutes, {len(schedule)} faults", flush=True)
    # So that file systems are unmounted and servers stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = _FOLDER / str(arguments.seed)
    rates = Rates.times(arguments.load)
    record = Trial(arguments.seed, arguments.minutes, rates, folder, lambda line: print(line, flush=True)).run()
    record.write(folder)
    (folder / "page.html").write_text(render(record), encoding="utf-8")
    _tell(record)
    print(f"{folder}/page.html")
    return 0 if record.held else 1


def _tell(record: Record) -> None:
    for name, value in record.load.items():
        print(f"{name}: {value}")
    for at, note in record.notes:
        print(f"note at {at:.1f}: {note}")
    absent = set(REGISTRY) - {each.planned.fault for each in record.happened if each.was_had}
    for name in sorted(absent):
        print(f"not had: {name}: {record.not_had().get(name, 'not in a schedule this short')}")
    for verdict in record.verdicts:
        word = "held" if verdict.held else f"BROKEN, {len(verdict.violations)} rows"
        print(f"{verdict.promise:9} {word}  {verdict.text}")
        for violation in verdict.violations[:_ROWS_SHOWN]:
            print(f"            {violation.row}: {violation.what}")


if __name__ == "__main__":
    sys.exit(main())
