"""The mark `promise` of a test: which promises of README's table it holds. A failure of the test names them."""

from collections.abc import Generator

import pytest

MARK = "promise"


def promises_of(item: pytest.Item) -> list[str]:
    return [str(name) for mark in item.iter_markers(MARK) for name in mark.args]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when == "call" and (names := promises_of(item)):
        report.sections.append(("Broken promise", f"{', '.join(names)} (README, Promises)"))
    return report
