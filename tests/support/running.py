"""One running product for all stories; what a story killed is started again before the next."""

import os
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import httpx
import pytest

from tests.support.memory import folder_in_memory
from tests.support.pgbouncer import PgBouncer
from tests.support.stack import Ledgers, Stack


@contextmanager
def started(stack: Stack) -> Iterator[Stack]:
    """Starts all of `stack`, and stops it at the end."""
    try:
        stack.start_all()
        yield stack
    finally:
        stack.stop_all()


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with (
        folder_in_memory(tmp_path_factory.mktemp("stack")) as directory,
        started(Stack(directory, pooler=wanted_pooler(directory))) as stack,
    ):
        yield stack


def wanted_pooler(directory: Path) -> PgBouncer | None:
    """For the stories' stacks: `make pgbouncer-test` tells them behind one."""
    return PgBouncer(directory) if os.environ.get("STORIES_BEHIND") == "pgbouncer" else None


@pytest.fixture
async def ledgers(running_stack: Stack) -> AsyncIterator[Ledgers]:
    async with open_ledgers(running_stack) as opened:
        yield opened


@asynccontextmanager
async def open_ledgers(stack: Stack) -> AsyncIterator[Ledgers]:
    """Clients of `stack`; everything of it runs before and after."""
    await stack.bring_back()
    async with open_clients(stack) as ledgers:
        yield ledgers
    await stack.bring_back()


@asynccontextmanager
async def open_clients(stack: Stack) -> AsyncIterator[Ledgers]:
    """Clients of `stack` as it is: killed processes stay dead."""
    headers = {"Authorization": f"Bearer {stack.operator_key}"}
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # empty: all is plain HTTP, and loading certificates is slow
    async with (
        httpx.AsyncClient(base_url=stack.signup_url, headers=headers, timeout=30, verify=trust) as signup,
        httpx.AsyncClient(base_url=stack.mail_url, headers=headers, timeout=30, verify=trust) as mail,
        httpx.AsyncClient(base_url=stack.signup_url, timeout=30, verify=trust) as anonymous,
        httpx.AsyncClient(base_url=stack.catcher_url, timeout=30, verify=trust) as catcher,
    ):
        yield Ledgers(stack, signup, mail, anonymous, catcher)
