"""Fixtures of the runbook: a stack of its own, whose workers stay dead."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.runbook.situation import Situation, arrange
from tests.support.running import open_clients
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def arranged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situation]:
    if missing := [name for name in ("curl", "jq") if shutil.which(name) is None]:
        pytest.skip(f"the runbook's commands need {' and '.join(missing)}, which is not installed")
    stack = Stack(tmp_path_factory.mktemp("runbook"), {"ALERT_SECONDS": "0.2"})
    try:
        stack.start_all()
        yield arrange(stack, tmp_path_factory.mktemp("checkout"))
    finally:
        stack.stop_all()


@pytest.fixture
async def situation(arranged: Situation) -> AsyncIterator[Situation]:
    async with open_clients(arranged.ledgers.stack) as ledgers:
        arranged.ledgers = ledgers
        yield arranged
