"""Imports as a client sends them, with the worker's loops stepped by the test."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import orjson

from services.signup.imports.cleanup import ImportCleanup
from services.signup.imports.import_loop import ImportLoop

NDJSON = "application/x-ndjson"


def person(n: int, **more: Any) -> dict[str, Any]:
    return {"external_id": f"ext-{n}", "email": f"person-{n}@x.example", "name": f"Person {n}"} | more


def people(count: int, start: int = 1, **more: Any) -> list[dict[str, Any]]:
    return [person(n, **more) for n in range(start, start + count)]


def ndjson(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return b"".join(orjson.dumps(row) + b"\n" for row in rows)


@dataclass(frozen=True)
class Imports:
    http: httpx.AsyncClient
    importer: ImportLoop
    cleanup: ImportCleanup

    async def post(
        self, body: bytes | Sequence[Mapping[str, Any]], *, key: str | None = None, media: str = NDJSON, **params: Any
    ) -> httpx.Response:
        headers = {"Content-Type": media} | ({"Idempotency-Key": key} if key else {})
        content = body if isinstance(body, bytes) else ndjson(body)
        return await self.http.post("/v1/imports", content=content, headers=headers, params=params)

    async def start(self, body: bytes | Sequence[Mapping[str, Any]], **params: Any) -> str:
        """Start an import and return its ID; unpaced by default."""
        answer = await self.post(body, **({"mails_per_minute": 0} | params))
        assert answer.status_code == 202, answer.text
        import_id: str = answer.json()["id"]
        return import_id

    async def run(self, body: bytes | Sequence[Mapping[str, Any]], **params: Any) -> dict[str, Any]:
        """Start an import, process it to the end, and return it."""
        import_id = await self.start(body, **params)
        await self.work()
        return await self.get(import_id)

    async def work(self) -> None:
        while await self.importer.run_once():
            pass

    async def get(self, import_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.http.get(f"/v1/imports/{import_id}")).json()
        return found

    async def rows(self, import_id: str, **params: Any) -> list[dict[str, Any]]:
        answer = await self.http.get(f"/v1/imports/{import_id}/rows", params={"limit": 500, **params})
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    async def act(self, import_id: str, action: str) -> httpx.Response:
        return await self.http.post(f"/v1/imports/{import_id}/{action}")
