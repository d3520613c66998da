"""An API in the test process, called through HTTP with its own keys."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from shared.db import api_keys
from shared.db.pool import Database


@dataclass(frozen=True)
class Api:
    """`http` sends no key; `as_client` returns a client that sends one; `operations` calls the operations port."""

    app: FastAPI
    http: httpx.AsyncClient
    database: Database
    operations: httpx.AsyncClient

    async def key(self, client: str, *scopes: str) -> dict[str, str]:
        """Headers with a fresh key for `client`."""
        key = api_keys.mint()
        async with self.database.pool.acquire() as connection:
            await api_keys.store(connection, key, client=client, scopes=scopes, days=None, actor="test")
        return {"Authorization": f"Bearer {key.text}"}

    async def as_client(self, client: str, scopes: Sequence[str]) -> httpx.AsyncClient:
        """A client whose every request carries a fresh key."""
        headers = await self.key(client, *scopes)
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.app), base_url="http://api", headers=headers)


@asynccontextmanager
async def running(app: FastAPI, database: Database) -> AsyncIterator[Api]:
    """Enter the app's lifespan for the length of the block."""
    async with app.router.lifespan_context(app), _client(app) as http, _client(app.state.operations_app) as operations:
        yield Api(app, http, database, operations)


def _client(app: FastAPI) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api")
