"""Real databases for tests: migrated once as templates, then cloned for each test."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import asyncpg

from local import postgres
from shared.db.pool import Database

ROOT = Path(__file__).resolve().parents[2]
PASSWORDS = {
    role: f"test-{role}" for role in ("signup_owner", "signup_app", "mail_owner", "mail_app")
}  # of a loopback server that lives only for the test run


@dataclass(frozen=True)
class Clone:
    """A database that belongs to one test."""

    owner_url: str
    runtime_url: str
    database: Database

    async def as_owner(self, statement: str, *arguments: object) -> None:
        """For changes that the runtime role may not make: the past moved back, rows that no process would write."""
        owner = await asyncpg.connect(self.owner_url)
        try:
            await owner.execute(statement, *arguments)
        finally:
            await owner.close()


@dataclass(frozen=True)
class Server:
    """The test run's PostgreSQL, with one migrated template database for each service."""

    superuser_url: str
    pid: int

    def url(self, database: str, role: str) -> str:
        return postgres.database_url(self.superuser_url, database, role, PASSWORDS[role])

    async def clone(self, service: str) -> str:
        """Copy the service's migrated database; return the name of the copy."""
        name = f"{service}_{uuid4().hex[:12]}"
        connection = await asyncpg.connect(self.superuser_url)
        try:
            await connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{service}" OWNER "{service}_owner"')
        finally:
            await connection.close()
        return name

    async def drop(self, name: str) -> None:
        connection = await asyncpg.connect(self.superuser_url)
        try:
            await connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        finally:
            await connection.close()


def alembic(service: str, owner_url: str, *arguments: str, checkout: Path = ROOT) -> "subprocess.CompletedProcess[str]":
    """Run Alembic as `make migrate` does, in `checkout`."""
    return subprocess.run(
        [sys.executable, "-m", "alembic", "-c", "migrations/alembic.ini", "-n", service, *arguments],
        cwd=checkout,
        env={**os.environ, f"{service.upper()}_DATABASE_URL": owner_url},
        capture_output=True,
        text=True,
        check=False,
    )


def prepare(
    superuser_url: str, pid: int, services: Sequence[str] = ("signup", "mail"), *, checkout: Path = ROOT
) -> Server:
    """Create the roles and the template databases, migrated as far as `checkout` goes."""
    asyncio.run(postgres.create_databases(superuser_url, PASSWORDS, services))
    server = Server(superuser_url, pid)
    for service in services:
        done = alembic(service, server.url(service, f"{service}_owner"), "upgrade", "head", checkout=checkout)
        if done.returncode:
            raise RuntimeError(done.stderr)
    return server
