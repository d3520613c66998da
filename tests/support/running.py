"""One running product for all stories; whatever a story killed is started again before the next."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.support.stack import Ledgers, Stack


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"))
    try:
        stack.start_all()
        yield stack
    finally:
        stack.stop_all()


@pytest.fixture
async def ledgers(running_stack: Stack) -> AsyncIterator[Ledgers]:
    async with open_ledgers(running_stack) as opened:
        yield opened


@asynccontextmanager
async def open_ledgers(stack: Stack) -> AsyncIterator[Ledgers]:
    """All of `stack` runs, before and after."""
    await stack.bring_back()
    async with look_at(stack) as ledgers:
        yield ledgers
    await stack.bring_back()


@asynccontextmanager
async def look_at(stack: Stack) -> AsyncIterator[Ledgers]:
    """`stack` as it is: what is dead stays dead."""
    headers = {"Authorization": f"Bearer {stack.operator_key}"}
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # of nobody: all is plain here, and reading certificates takes long
    async with (
        httpx.AsyncClient(base_url=stack.signup_url, headers=headers, timeout=30, verify=trust) as signup,
        httpx.AsyncClient(base_url=stack.mail_url, headers=headers, timeout=30, verify=trust) as mail,
        httpx.AsyncClient(base_url=stack.signup_url, timeout=30, verify=trust) as anonymous,
        httpx.AsyncClient(base_url=stack.catcher_url, timeout=30, verify=trust) as catcher,
    ):
        yield Ledgers(stack, signup, mail, anonymous, catcher)
