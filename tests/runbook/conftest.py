"""A stack of its own: its workers stay dead."""

import shutil
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.runbook.situation import Situation, begin
from tests.support.running import look_at
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def arranged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Situation]:
    if missing := [name for name in ("curl", "jq") if shutil.which(name) is None]:
        pytest.skip(f"the commands of the page need {' and '.join(missing)}, not here")
    stack = Stack(tmp_path_factory.mktemp("runbook"), {"ALERT_SECONDS": "0.2"})
    try:
        stack.start_all()
        yield begin(stack, tmp_path_factory.mktemp("checkout"))
    finally:
        stack.stop_all()


@pytest.fixture
async def situation(arranged: Situation) -> AsyncIterator[Situation]:
    async with look_at(arranged.ledgers.stack) as ledgers:
        arranged.ledgers = ledgers
        yield arranged
