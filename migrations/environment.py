"""How both Alembic histories run: as the owner role, each revision in a transaction of its own, one migrator at a time.

The services go on meanwhile. A revision that waits for a lock makes every statement behind it wait too, and one that
holds a lock and waits for another can meet a statement that does the opposite. So it is the revision that gives up,
long before a statement of a service would, and is tried again.
"""

import asyncio
import os
import random
import re
import time

import asyncpg
import sqlalchemy as sa
from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine

# Month partitions come and go while the service runs; they are no part of the schema's history.
_PARTITION = re.compile(r"_(y\d{4}m\d{2}|default)$")
# Any number will do, so long as every migrator takes the same one.
_MIGRATION_LOCK = 7_201_914
# Far below PostgreSQL's deadlock_timeout of 1 s, after which it would end the statement of a service.
_LOCK_TIMEOUT = "200ms"
_GIVES_UP_AFTER_SECONDS = 600.0
_BUSY = ("55P03", "40P01")  # lock_not_available, deadlock_detected


def run(metadata: sa.MetaData, *, url_variable: str, runtime_role_variable: str, default_role: str) -> None:
    """Entry point for `env.py`. Commits after each revision; a failure leaves the schema as the last one made it."""
    url = os.environ.get(url_variable) or context.config.get_main_option("sqlalchemy.url")
    if not url:
        raise SystemExit(f"{url_variable} must hold the URL of the owner role")
    role = os.environ.get(runtime_role_variable) or default_role
    if not re.fullmatch(r"[a-z_][a-z0-9_]*", role):
        raise SystemExit(f"{runtime_role_variable} is not a plain role name")
    asyncio.run(_migrate(metadata, url, role))


async def _migrate(metadata: sa.MetaData, url: str, runtime_role: str) -> None:
    async def connect() -> "asyncpg.Connection[asyncpg.Record]":
        return await asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connect, poolclass=sa.NullPool)
    deadline = time.monotonic() + _GIVES_UP_AFTER_SECONDS
    try:
        while True:
            try:
                async with engine.connect() as connection:
                    await connection.run_sync(_run_sync, metadata, runtime_role)
            except sa.exc.DBAPIError as error:
                if getattr(error.orig, "sqlstate", None) not in _BUSY or time.monotonic() > deadline:
                    raise
                await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - no secret
            else:
                return
    finally:
        await engine.dispose()


def _run_sync(connection: sa.Connection, metadata: sa.MetaData, runtime_role: str) -> None:
    # Until the session ends: transactions come and go.
    connection.execute(sa.text("SELECT pg_advisory_lock(:key)"), {"key": _MIGRATION_LOCK})
    known = connection.scalar(sa.text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": runtime_role})
    if known is None:
        raise SystemExit(f"The runtime role {runtime_role!r} does not exist; create it before migrating")
    connection.execute(sa.text(f"SET lock_timeout = '{_LOCK_TIMEOUT}'"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=metadata,
        compare_type=True,
        compare_server_default=False,  # PostgreSQL rewrites their text; a test compares what matters
        include_name=_is_ours,
        runtime_role=runtime_role,
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


def _is_ours(name: str | None, kind: str, parents: object) -> bool:
    del parents
    return not (kind == "table" and name is not None and _PARTITION.search(name))
