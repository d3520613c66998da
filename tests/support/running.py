"""One running product for all stories; whatever a story killed is started again before the next."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.support.stack import Books, Stack


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.start_all()
        yield stack
    finally:
        stack.stop_all()


@pytest.fixture
async def books(running_stack: Stack) -> AsyncIterator[Books]:
    async with open_books(running_stack) as opened:
        yield opened


@asynccontextmanager
async def open_books(stack: Stack) -> AsyncIterator[Books]:
    """All of `stack` runs, before and after."""
    await stack.heal()
    headers = {"Authorization": f"Bearer {stack.operator_key}"}
    async with (
        httpx.AsyncClient(base_url=stack.signup_url, headers=headers, timeout=30) as signup,
        httpx.AsyncClient(base_url=stack.mail_url, headers=headers, timeout=30) as mail,
        httpx.AsyncClient(base_url=stack.signup_url, timeout=30) as anonymous,
        httpx.AsyncClient(base_url=stack.catcher_url, timeout=30) as catcher,
    ):
        yield Books(stack, signup, mail, anonymous, catcher)
    await stack.heal()
