"""Runs the tests of a mutation in a copy of the tree, and says whether they caught it."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .mutation import ROOT, Mutation
from .witness import VARIABLE

# Not part of the tree, or large and of no use to a test.
_LEFT_OUT = (".git", ".venv", "var", "node_modules", "__pycache__", ".*_cache", ".hypothesis", "pictures", "*.png")
# For a test that waits for what never comes. The longest takes seconds, but servers start slowly on a busy machine.
_TEST_SECONDS, _RUN_SECONDS = 150, 400
_LINES_SHOWN = 40
_FAILED = 1  # pytest's exit status when tests ran and some failed


class UnsoundError(Exception):
    """The tests say nothing: they fail, or are not run, without a mutation."""


@dataclass(frozen=True)
class Result:
    """`caught_by` is the first test that failed, None when none did; then `why` says what happened instead."""

    mutation: Mutation
    caught_by: str | None
    why: str
    seconds: float


@dataclass(frozen=True)
class _Seen:
    """What a test came to."""

    test: str
    step: str
    outcome: str
    promises: tuple[str, ...]
    message: str


def copy_tree(folder: Path) -> None:
    """The tree as it stands, uncommitted changes included."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True)


def require_sound(pristine: Path, mutations: Iterable[Mutation], work: Path) -> int:
    """Run all tests of `mutations` without any. Returns how many passed.

    Raises:
        UnsoundError: one of them did not pass.
    """
    tests = list(dict.fromkeys(test for mutation in mutations for test in mutation.tests))
    seconds = max(_RUN_SECONDS, 60 * len(tests))
    status, seen, output = _run(pristine, tests, work / "sound", "-n", "2", "--dist", "loadfile", seconds=seconds)
    passed = [each.test for each in seen if each.outcome == "passed"]
    silent = [test for test in tests if not any(_is_of(name, test) for name in passed)]
    if status or silent:
        summary = "\n".join(output.splitlines()[-_LINES_SHOWN:])
        raise UnsoundError(f"without any mutation, not all tests pass:\n{summary}")
    return len(passed)


def attempt(pristine: Path, mutation: Mutation, work: Path) -> Result:
    """Apply `mutation` to a copy of `pristine`, run its tests there, and remove the copy.

    Raises:
        ValueError: it cannot be applied.
    """
    folder = work / mutation.name
    shutil.copytree(pristine, folder / "tree", symlinks=True)
    file = folder / "tree" / mutation.file
    file.write_text(mutation.applied_to(file.read_text(encoding="utf-8")), encoding="utf-8")
    began = time.monotonic()
    status, seen, output = _run(folder / "tree", mutation.tests, folder / "run", "-x")
    seconds = time.monotonic() - began
    shutil.rmtree(folder, ignore_errors=True)
    caught_by, why = _judge(mutation, status, seen, output)
    return Result(mutation, caught_by, why, seconds)


def _judge(mutation: Mutation, status: int, seen: Sequence[_Seen], output: str) -> tuple[str | None, str]:
    failed = [each for each in seen if each.outcome == "failed"]
    if not failed:
        return None, "every test passed" if not status else f"the tests did not run:\n{output}"
    first = failed[0]
    if status != _FAILED or first.step != "call" or "Timeout (>" in first.message:
        return None, f"{first.test} did not come to a verdict ({first.step}): {first.message}"
    if mutation.promise not in first.promises:
        return None, f"{first.test} failed, but is no test of {mutation.promise}"
    return first.test, first.message


def _run(
    tree: Path, tests: Sequence[str], work: Path, *options: str, seconds: float = _RUN_SECONDS
) -> tuple[int, list[_Seen], str]:
    work.mkdir(parents=True)
    record = work / "witness.jsonl"
    record.touch()
    command = (
        *(sys.executable, "-m", "pytest", "-p", "tests.mutations.witness", "-p", "no:cacheprovider", "--no-header"),
        *("--tb=short", f"--timeout={_TEST_SECONDS}", f"--basetemp={work / 'temporary'}", *options, *tests),
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "PYTHONPATH"))}
    with subprocess.Popen(
        command,
        cwd=tree,
        env=environment | {VARIABLE: str(record)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, _ = process.communicate()
    seen = [
        _Seen(**{**json.loads(line), "promises": tuple(json.loads(line)["promises"])})
        for line in record.read_text(encoding="utf-8").splitlines()
    ]
    return process.returncode, seen, output


def _is_of(name: str, test: str) -> bool:
    """Whether the node `name` is `test`, or one of its parametrized cases."""
    return name == test or name.startswith(f"{test}[")
