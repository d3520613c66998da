"""Embedded servers without supervision, as other tests use them."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
import redis

from local import postgres, valkey
from local.process import RunningServer

PASSWORDS = {role: f"password-of-{role}" for role in ("signup_owner", "signup_app", "mail_owner", "mail_app")}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with postgres.start_server(tmp_path_factory.mktemp("postgres"), durable=False) as running:
        yield running


async def value(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_postgres_asks_for_its_password(server: RunningServer) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(server.url.replace("postgres:", "postgres:x", 2))


async def test_postgres_is_durable_by_default(tmp_path: Path) -> None:
    with postgres.start_server(tmp_path) as durable:
        assert await value(durable.url, "SHOW fsync") == "on"
        assert await value(durable.url, "SHOW synchronous_commit") == "on"


async def test_each_role_can_connect_to_its_own_database_only(server: RunningServer) -> None:
    await postgres.create_databases(server.url, PASSWORDS)
    await postgres.create_databases(server.url, PASSWORDS)  # changes nothing
    signup_app = postgres.database_url(server.url, "signup", "signup_app", PASSWORDS["signup_app"])
    assert await value(signup_app, "SELECT current_user::text") == "signup_app"
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await value(signup_app, "CREATE TABLE t ()")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(postgres.database_url(server.url, "mail", "signup_app", PASSWORDS["signup_app"]))
    signup_owner = postgres.database_url(server.url, "signup", "signup_owner", PASSWORDS["signup_owner"])
    assert await value(signup_owner, "CREATE TABLE t ()") is None


async def test_postgres_starts_again_after_it_was_killed(tmp_path: Path) -> None:
    first = postgres.start_server(tmp_path)
    await value(first.url, "CREATE TABLE kept ()")
    os.kill(first.pid, signal.SIGKILL)
    first.stop()
    with postgres.start_server(tmp_path) as second:
        assert await value(second.url, "SELECT count(*) FROM kept") == 0


async def test_a_pid_file_that_names_another_program_is_removed(tmp_path: Path) -> None:
    postgres.start_server(tmp_path).stop()
    stale = tmp_path / "postgres" / "data" / "postmaster.pid"
    stale.write_text(f"{os.getpid()}\n")
    with postgres.start_server(tmp_path) as again:
        assert await value(again.url, "SELECT 1") == 1
    assert not stale.exists()


def test_valkey_asks_for_its_password_and_keeps_its_data(tmp_path: Path) -> None:
    with valkey.start_server(tmp_path, durable=True) as first:
        with redis.Redis.from_url(first.url) as client:
            client.set("kept", "yes")
        with redis.Redis(port=first.port) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.ping()
    with valkey.start_server(tmp_path, durable=True) as second, redis.Redis.from_url(second.url) as client:
        assert client.get("kept") == b"yes"
