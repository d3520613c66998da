"""`make model`: checks counterfoil.pml exhaustively with Spin, then each broken twin; those must break a promise.

Needs `spin` and a C compiler (Debian: apt-get install spin gcc). Exits 1 when the model breaks a promise, or when a
twin breaks none: then the model no longer sees what the guard is for.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).with_name("counterfoil.pml")
# Fairness multiplies the states: one crash is enough to lose something for ever.
LIVE_BOUNDS = ("-DLIVENESS", "-DCRASHES=1")


@dataclass(frozen=True)
class Twin:
    """The model without one guard; `promise` is the formula that it breaks."""

    define: str
    promise: str
    guard: str
    bounds: tuple[str, ...] = ()


TWINS = (
    Twin("SETTLE_FIRST", "p1", "the outbox row is settled after the mail service has the mail"),
    Twin("NO_UNIQUE", "p4", "one row for each client and request ID"),
    Twin("NO_TRANSMITTING", "p4", "`transmitting` is committed at all"),
    Twin("COMMIT_AFTER_BODY", "p4", "`transmitting` is committed before the body leaves"),
    Twin("NO_TRANSMIT_FENCE", "p4", "only the holder of the lease may begin to transmit"),
    Twin("NO_OUTCOME_FENCE", "p4", "only the holder of the lease may record an outcome"),
    Twin("RESCUE_FORGETS_TRANSMITTING", "p4", "the rescue looks at the phase on record"),
    Twin("SENT_WITHOUT_250", "p5", "only a 250 makes a mail `sent`"),
    Twin("FAIL_IN_DOUBT", "p5_failed", "a mail that may have left does not fail"),
    Twin("NO_RESCUE", "p8", "overdue leases are found", LIVE_BOUNDS),
)


@dataclass(frozen=True)
class Search:
    """What Spin found: `steps` of the counterexample in order, none when the formula holds."""

    states: int
    seconds: float
    steps: tuple[str, ...]
    holds: bool


def main() -> int:
    if missing := [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]:
        print(f"{' and '.join(missing)} not found (Debian: apt-get install spin gcc)", file=sys.stderr)
        return 2
    failed = False
    for name, defines, formula in (
        ("safety, on_uncertain=hold", (), "safety"),
        ("safety, on_uncertain=resend", ("-DRESEND",), "safety"),
        ("liveness, under weak fairness", LIVE_BOUNDS, "p8"),
    ):
        found = search(defines, formula)
        failed |= not found.holds
        verdict = "holds" if found.holds else "BROKEN"
        print(f"{name}: {verdict}, {found.states:,} states, {found.seconds:.1f} s", flush=True)
        if not found.holds:
            print("    " + " > ".join(found.steps))
    print("Broken twins, and the shortest way that Spin finds to break the promise:")
    for twin in TWINS:
        found = search((f"-D{twin.define}", *twin.bounds), twin.promise)
        failed |= found.holds
        verdict = "NOT CAUGHT" if found.holds else f"{twin.promise} broken"
        print(f"{twin.define} ({twin.guard}): {verdict}: {' > '.join(found.steps)}", flush=True)
    return int(failed)


def search(defines: Sequence[str], formula: str) -> Search:
    """Search all states for a run that breaks `formula`. Raises CalledProcessError when Spin cannot be run."""
    live = formula == "p8"
    with tempfile.TemporaryDirectory() as directory:
        # One formula alone: a replay follows the last one of the file. Lines keep their numbers.
        text = re.sub(rf"^ltl (?!{formula} ).*$", "", MODEL.read_text(encoding="utf-8"), flags=re.MULTILINE)
        (Path(directory) / MODEL.name).write_text(text, encoding="utf-8")

        def run(*command: str) -> str:
            done = subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True)
            if done.returncode and command[0] != "./pan":
                raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
            return done.stdout

        run("spin", "-a", *defines, MODEL.name)
        # Breadth first where it can be had: its counterexample is a shortest one.
        kind = ("-DNFAIR=3",) if live else ("-DBFS", "-DSAFETY")
        run("gcc", "-O2", "-w", "-DCOLLAPSE", "-DVECTORSZ=2048", "-DMEMLIM=8000", *kind, "-o", "pan", "pan.c")
        began = time.perf_counter()
        text = run("./pan", "-m100000", *(("-a", "-f") if live else ()), "-N", formula)
        seconds = time.perf_counter() - began
        if "max search depth too small" in text or "reached -DMEMLIM" in text or "errors:" not in text:
            raise RuntimeError(f"the search was not exhaustive:\n{text}")
        states = re.search(r"(\d+) states, stored", text)
        holds = "errors: 0" in text
        trail = "" if holds else run("spin", "-t", "-p", *defines, MODEL.name)
        return Search(int(states[1]) if states else 0, seconds, _steps(trail), holds)


_INLINES = re.compile(r"^inline (\w+)\(", re.MULTILINE)


def steps_of_the_model() -> frozenset[str]:
    """The names of the model's committed statements."""
    return frozenset(_INLINES.findall(MODEL.read_text(encoding="utf-8")))


# What else a line of the model shows.
_MARKS = {
    "slow++": "lease ends",
    "copies++": "gateway takes it",
    "resolutions++": "operator resends",
    "breaks++": "line breaks",
    "lost++": "answer lost",
}


def _named_lines() -> dict[int, str]:
    """The step that each line of the model belongs to."""
    named: dict[int, str] = {}
    inline = ""
    for number, line in enumerate(MODEL.read_text(encoding="utf-8").splitlines(), 1):
        if match := _INLINES.match(line):
            inline = match[1]
        elif line.startswith("}"):
            inline = ""
        if inline:
            named[number] = inline
        elif "DIES" in line and "define" not in line:
            named[number] = "dies"
        elif mark := next((mark for mark in _MARKS if mark in line), None):
            named[number] = _MARKS[mark]
    return named


def _steps(trail: str) -> tuple[str, ...]:
    """The named steps of a counterexample, by the lines of the model that it went through."""
    named = _named_lines()
    steps: list[str] = []
    for process, number in re.findall(r"proc +(\d+) \([^)]*\) counterfoil\.pml:(\d+)", trail):
        step = named.get(int(number))
        if step and (not steps or steps[-1] != f"{step} ({process})"):
            steps.append(f"{step} ({process})")
    return tuple(steps)


if __name__ == "__main__":
    sys.exit(main())
