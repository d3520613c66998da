"""A database for each machine, without a pool: the machine opens its own, on its own event loop."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.databases import Server


def _database(server: Server, service: str) -> Iterator[str]:
    name = asyncio.run(server.clone(service))
    yield server.url(name, f"{service}_app")
    asyncio.run(server.drop(name))


@pytest.fixture
def mail_url(postgres_server: Server) -> Iterator[str]:
    """The URL of the runtime role."""
    yield from _database(postgres_server, "mail")


@pytest.fixture
def signup_url(postgres_server: Server) -> Iterator[str]:
    """The URL of the runtime role."""
    yield from _database(postgres_server, "signup")
