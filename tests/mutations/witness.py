"""A pytest plugin for the runner: writes one line of JSON for each test, into the file that WITNESS names."""

import json
import os
from collections.abc import Generator
from pathlib import Path

import pytest

from tests.support.promises import promises_of

VARIABLE = "MUTATION_WITNESS"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" or not report.passed:
        crash = getattr(report.longrepr, "reprcrash", None)
        line = {
            "test": report.nodeid,
            "step": report.when,
            "outcome": report.outcome,
            "promises": promises_of(item),
            "message": crash.message.splitlines()[0] if crash and crash.message else "",
        }
        with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return report
