"""Fixtures: the product, and a Prometheus that scrapes it."""

from collections.abc import Iterator

import pytest

from tests.monitoring.prometheus import Prometheus, find
from tests.support.running import ledgers
from tests.support.stack import Stack

__all__ = ["ledgers"]


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    """Fail the run when Prometheus is not installed."""
    try:
        find("prometheus")
        find("promtool")
    except FileNotFoundError as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with ALERT_SECONDS=1: alert metrics appear after the first run of the alert loop."""
    stack = Stack(tmp_path_factory.mktemp("stack"), {"ALERT_SECONDS": "1"})
    try:
        stack.start_all()
        yield stack
    finally:
        stack.stop_all()


@pytest.fixture(scope="session")
def prometheus(running_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    targets = {
        "counterfoil-signup": f"127.0.0.1:{running_stack.ports['signup-operations']}",
        "counterfoil-mail": f"127.0.0.1:{running_stack.ports['mail-operations']}",
    }
    with Prometheus(tmp_path_factory.mktemp("prometheus"), targets) as running:
        yield running
