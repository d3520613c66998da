"""Fixtures for every kind of test: PostgreSQL and Valkey started once, and a fresh database for each test."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import redis.asyncio
import structlog
from hypothesis import HealthCheck, settings

from local import postgres, runenv, valkey
from shared.db.pool import DatabaseOptions, open_database

from .support import certificates, cluster_template
from .support.databases import Clone, Server
from .support.memory import folder_in_memory
from .support.promises import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]  # a hook of pytest

# In a shell that has read run.env, the tests would start their stacks on the servers of the stack that it describes.
for variable in runenv.VARIABLES:
    os.environ.pop(variable, None)

certificates.leave_out()

# A busy machine is slow, and no test asserts a time.
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")

# structlog's default renders tracebacks with all variables, which takes seconds.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["level", "event"]),
    ]
)


def pytest_sessionstart() -> None:
    cluster_template.templates = cluster_template.ClusterTemplates()


def pytest_sessionfinish() -> None:
    if cluster_template.templates is not None:
        cluster_template.templates.close()


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with folder_in_memory(tmp_path_factory.mktemp("postgres")) as memory:
        folder = memory / "server"
        assert cluster_template.templates is not None, "made when the session started"
        cluster_template.templates.copy(("signup", "mail"), folder)
        server = postgres.start_server(folder, durable=False)
        try:
            yield Server(server.url, server.pid)
        finally:
            server.stop()


@asynccontextmanager
async def _clone(server: Server, service: str) -> AsyncIterator[Clone]:
    name = await server.clone(service)
    runtime_url = server.url(name, f"{service}_app")
    database = await open_database(DatabaseOptions(runtime_url, "test"))
    try:
        yield Clone(server.url(name, f"{service}_owner"), runtime_url, database)
    finally:
        await database.close()
        await server.drop(name)


@pytest.fixture
async def signup_database(postgres_server: Server) -> AsyncIterator[Clone]:
    async with _clone(postgres_server, "signup") as clone:
        yield clone


@pytest.fixture
async def mail_database(postgres_server: Server) -> AsyncIterator[Clone]:
    async with _clone(postgres_server, "mail") as clone:
        yield clone


@pytest.fixture(params=["signup", "mail"])
async def either_database(postgres_server: Server, request: pytest.FixtureRequest) -> AsyncIterator[Clone]:
    """For rules that hold in both databases."""
    async with _clone(postgres_server, request.param) as clone:
        yield clone


@pytest.fixture(scope="session")
def valkey_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = valkey.start_server(tmp_path_factory.mktemp("valkey"))
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture
async def redis_url(valkey_url: str) -> str:
    """The test run's Valkey, emptied."""
    client = redis.asyncio.Redis.from_url(valkey_url)
    await client.flushall()
    await client.aclose()
    return valkey_url
