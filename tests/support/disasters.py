"""The disaster drill: damages the ledgers, and counts at the catcher the copies of each request and person."""

import asyncio
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import asyncpg
import httpx
import orjson

from shared.contract.ids import uuid7

from .databases import ROOT
from .imports import NDJSON, ndjson
from .reconciliation_lab import DELETE_MAILS, INSERT_UNREQUESTED_MAILS
from .stack import Ledgers, eventually

_AT_ONCE = 16
_PATIENCE_SECONDS = 120.0
KINDS = ("missing", "lost_records", "unexpected", "different", "stuck", "unserved_users")
_CHANGE = "UPDATE mails SET to_email = 'eve@x.example', to_key = 'eve@x.example' WHERE request_id = ANY ($1)"
_REPORTED = "SELECT count(*) FROM mail_outcomes WHERE sent_at IS NOT NULL AND request_id = ANY ($1)"
_OWED = "SELECT count(*) FROM outbox WHERE effect = 'mail'"
_SENT_SINCE = "SELECT count(*) FROM mails WHERE to_key = ANY ($1) AND state = 'sent'"


def people(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{n}@x.example" for n in range(count)]


class Drill:
    """Acts on both ledgers and on the catcher."""

    def __init__(self, ledgers: Ledgers) -> None:
        self.ledgers = ledgers

    async def now(self) -> str:
        """The signup database's clock."""
        return str(await self.ledgers.fetchval("signup", "SELECT to_json(clock_timestamp()) #>> '{}'"))

    async def sign_up(self, addresses: Sequence[str]) -> None:
        slots = asyncio.Semaphore(_AT_ONCE)

        async def sign_up_one(address: str) -> None:
            async with slots:
                assert (await self.ledgers.sign_up(address)).status_code == 202

        await asyncio.gather(*map(sign_up_one, addresses))

    async def import_people(self, addresses: Sequence[str]) -> str:
        """Import people from a file; return the import's ID."""
        rows = [{"external_id": address, "email": address, "name": "Bo"} for address in addresses]
        headers = {"Content-Type": NDJSON, "Idempotency-Key": str(uuid7())}
        params = {"source": "drill", "mails_per_minute": "0"}
        answer = await self.ledgers.signup.post("/v1/imports", content=ndjson(rows), headers=headers, params=params)
        assert answer.status_code == 202, answer.text
        import_id: str = answer.json()["id"]
        return import_id

    def command(self, *words: str, stdin: str = "") -> list[dict[str, Any]]:
        """Run `python -m services.signup …` as an operator; return the printed JSON lines."""
        done = subprocess.run(
            [sys.executable, "-m", "services.signup", *words],
            cwd=ROOT,
            env={**os.environ, "SIGNUP_DATABASE_URL": self.ledgers.stack.owner_url("signup")},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [orjson.loads(line) for line in done.stdout.splitlines()]

    async def verify(self, address: str) -> str:
        """Verify with the link of their first mail; return the answer's status."""
        *_, message = await self.ledgers.caught(address)
        text = (await self.ledgers.catcher.get(f"/api/v1/message/{message['ID']}")).json()["Text"]
        token = text.partition("/verify/")[2].split()[0]
        answer = await self.ledgers.anonymous.post("/v1/verifications", json={"token": token})
        status: str = answer.json()["status"]
        return status

    async def await_welcome(self, address: str) -> str:
        """Verify and wait for the welcome mail; return its request ID."""
        before = await self.request_ids([address])
        assert await self.verify(address) == "verified"
        (request_id,) = (await self.all_sent([address], mails=len(before) + 1)) - before
        return request_id

    async def all_sent(self, addresses: Sequence[str], *, mails: int | None = None) -> set[str]:
        """Wait until `mails` mails (default: one each) are sent and signup knows it; return the request IDs."""
        await self._await_count("mail", _SENT_SINCE, mails or len(addresses), list(addresses))
        request_ids = await self.request_ids(addresses)
        await self._await_count("signup", _REPORTED, len(request_ids), sorted(request_ids))
        return request_ids

    async def relay_finished(self) -> None:
        await self._await_count("signup", _OWED, 0)

    async def request_ids(self, addresses: Sequence[str]) -> set[str]:
        """The request IDs of their mails, in the mail ledger."""
        query = "SELECT array_agg(request_id) FROM mails WHERE to_key = ANY ($1)"
        return set(await self.ledgers.fetchval("mail", query, list(addresses)) or ())

    async def delete_mails(self, request_ids: Iterable[str]) -> None:
        """Delete these mails by hand."""
        query = "SELECT array_agg(id) FROM mails WHERE request_id = ANY ($1)"
        ids = await self.ledgers.fetchval("mail", query, sorted(request_ids))
        for statement in DELETE_MAILS:
            await self.ledgers.execute("mail", statement, ids)

    async def plant(self, request_ids: Iterable[str]) -> None:
        """Insert mails that no client asked for."""
        await self.ledgers.execute("mail", INSERT_UNREQUESTED_MAILS, sorted(request_ids))

    async def change(self, request_ids: Iterable[str]) -> None:
        """Write another recipient into these mails."""
        await self.ledgers.execute("mail", _CHANGE, sorted(request_ids))

    async def reconcile(self, since: str) -> dict[str, Any]:
        """Run a whole reconciliation; `named` holds the request IDs of each kind."""
        answer = await self.ledgers.signup.post("/audit/reconciliation/run", json={"from": since})
        assert answer.status_code == 202, answer.text
        ended: httpx.Response = await eventually(
            lambda: self.ledgers.signup.get(answer.headers["Location"]),
            lambda answer: answer.json()["state"] != "running",
            seconds=_PATIENCE_SECONDS,
            what="the end of the run",
        )
        run: dict[str, Any] = ended.json()
        assert run["state"] == "done", run
        return run | {"named": await self.named(run["id"])}

    async def named(self, run_id: str) -> dict[str, set[str]]:
        named: dict[str, set[str]] = {kind: set() for kind in KINDS}
        cursor: str | None = None
        while True:
            params = {"run_id": run_id, "limit": "500"} | ({"cursor": cursor} if cursor else {})
            page = (await self.ledgers.signup.get("/audit/reconciliation/findings", params=params)).json()
            for item in page["items"]:
                named[item["kind"]].add(item["request_id"])
            cursor = page["next_cursor"]
            if cursor is None:
                return named

    async def caught(self) -> list[tuple[str, str]]:
        """Message-ID and recipient of every message in the catcher."""
        page = (await self.ledgers.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
        return [(f"<{message['MessageID']}>", message["To"][0]["Address"]) for message in page["messages"]]

    async def message_ids(self) -> dict[str, str]:
        """The request ID of each Message-ID in the mail ledger."""
        return {mail["message_id"]: mail["request_id"] for mail in await self.ledgers.mails()}

    async def copies(self, by_message_id: dict[str, str], people: Collection[str]) -> tuple[Counter[str], Counter[str]]:
        """How often each request, and each of these people, was mailed. `by_message_id`: see `message_ids`."""
        caught = [(message_id, to) for message_id, to in await self.caught() if to in people]
        return Counter(by_message_id[message_id] for message_id, _ in caught), Counter(to for _, to in caught)

    async def _await_count(self, service: str, query: str, count: int, *arguments: Any) -> None:
        connection = await asyncpg.connect(self.ledgers.stack.owner_url(service))
        try:
            await eventually(
                lambda: connection.fetchval(query, *arguments),
                lambda seen: seen == count,
                seconds=_PATIENCE_SECONDS,
                what=query,
            )
        finally:
            await connection.close()
