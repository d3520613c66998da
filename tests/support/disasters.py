"""What a drill does to the ledgers, and what it counts at the sink: copies of each request, and of each person's mail."""

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
from .reconciliation_lab import FORGET, NOBODY_ASKED
from .stack import Ledgers, eventually

_AT_ONCE = 16
_PATIENCE_SECONDS = 120.0
KINDS = ("missing", "lost_records", "unexpected", "different", "stuck", "unserved_users")
_CHANGE = "UPDATE mails SET to_email = 'eve@x.example', to_key = 'eve@x.example' WHERE request_id = ANY ($1)"
_HEARD_OF = "SELECT count(*) FROM mail_outcomes WHERE sent_at IS NOT NULL AND request_id = ANY ($1)"
_OWED = "SELECT count(*) FROM outbox WHERE effect = 'mail'"
_SENT_SINCE = "SELECT count(*) FROM mails WHERE to_key = ANY ($1) AND state = 'sent'"


def people(prefix: str, count: int) -> list[str]:
    return [f"{prefix}-{n}@x.example" for n in range(count)]


class Drill:
    """One run of history over both ledgers."""

    def __init__(self, ledgers: Ledgers) -> None:
        self.ledgers = ledgers

    async def now(self) -> str:
        """The database's clock, exactly."""
        return str(await self.ledgers.fetchval("signup", "SELECT to_json(clock_timestamp()) #>> '{}'"))

    async def sign_up(self, addresses: Sequence[str]) -> None:
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(address: str) -> None:
            async with turns:
                assert (await self.ledgers.sign_up(address)).status_code == 202

        await asyncio.gather(*map(one, addresses))

    async def bring_in(self, addresses: Sequence[str]) -> str:
        """By a file, as of a company that was bought; the import's ID."""
        rows = [{"external_id": address, "email": address, "name": "Bo"} for address in addresses]
        headers = {"Content-Type": NDJSON, "Idempotency-Key": str(uuid7())}
        params = {"source": "drill", "mails_per_minute": "0"}
        answer = await self.ledgers.signup.post("/v1/imports", content=ndjson(rows), headers=headers, params=params)
        assert answer.status_code == 202, answer.text
        import_id: str = answer.json()["id"]
        return import_id

    def command(self, *words: str, stdin: str = "") -> list[dict[str, Any]]:
        """`python -m services.signup …`, as an operator with the database's address; the lines that it answers."""
        said = subprocess.run(
            [sys.executable, "-m", "services.signup", *words],
            cwd=ROOT,
            env={**os.environ, "SIGNUP_DATABASE_URL": self.ledgers.stack.owner_url("signup")},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (said.returncode, said.stderr) == (0, "")
        return [orjson.loads(line) for line in said.stdout.splitlines()]

    async def verify(self, address: str) -> str:
        """With the link of their first mail; the answer's status."""
        *_, letter = await self.ledgers.caught(address)
        text = (await self.ledgers.catcher.get(f"/api/v1/message/{letter['ID']}")).json()["Text"]
        token = text.partition("/verify/")[2].split()[0]
        answer = await self.ledgers.anonymous.post("/v1/verifications", json={"token": token})
        status: str = answer.json()["status"]
        return status

    async def welcomed(self, address: str) -> str:
        """Verifies, and waits for the mail that greets; its request ID."""
        before = await self.requests([address])
        assert await self.verify(address) == "verified"
        (request,) = (await self.all_sent([address], mails=len(before) + 1)) - before
        return request

    async def all_sent(self, addresses: Sequence[str], *, mails: int | None = None) -> set[str]:
        """Waits until all of them were mailed (`mails` times in all) and signup has heard of it; the request IDs."""
        await self._come("mail", _SENT_SINCE, mails or len(addresses), list(addresses))
        requests = await self.requests(addresses)
        await self._come("signup", _HEARD_OF, len(requests), sorted(requests))
        return requests

    async def handed_over(self) -> None:
        await self._come("signup", _OWED, 0)

    async def requests(self, addresses: Sequence[str]) -> set[str]:
        """The request IDs of their mails, in the mail ledger."""
        query = "SELECT array_agg(request_id) FROM mails WHERE to_key = ANY ($1)"
        return set(await self.ledgers.fetchval("mail", query, list(addresses)) or ())

    async def lose(self, requests: Iterable[str]) -> None:
        """Somebody deletes these mails."""
        query = "SELECT array_agg(id) FROM mails WHERE request_id = ANY ($1)"
        ids = await self.ledgers.fetchval("mail", query, sorted(requests))
        for statement in FORGET:
            await self.ledgers.execute("mail", statement, ids)

    async def plant(self, requests: Iterable[str]) -> None:
        """Somebody inserts mails that nobody asked for."""
        await self.ledgers.execute("mail", NOBODY_ASKED, sorted(requests))

    async def change(self, requests: Iterable[str]) -> None:
        """Somebody writes another recipient into these."""
        await self.ledgers.execute("mail", _CHANGE, sorted(requests))

    async def reconcile(self, since: str) -> dict[str, Any]:
        """A whole run; what it found, with `named`: the request IDs of each kind."""
        answer = await self.ledgers.signup.post("/audit/reconciliation/run", json={"from": since})
        assert answer.status_code == 202, answer.text
        ended: httpx.Response = await eventually(
            lambda: self.ledgers.signup.get(answer.headers["Location"]),
            lambda told: told.json()["state"] != "running",
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
        """Message-ID and recipient of everything that ever arrived at the sink."""
        page = (await self.ledgers.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
        return [(f"<{it['MessageID']}>", it["To"][0]["Address"]) for it in page["messages"]]

    async def message_ids(self) -> dict[str, str]:
        """The request ID that each Message-ID stands for, by the mail ledger as it is now."""
        return {mail["message_id"]: mail["request_id"] for mail in await self.ledgers.mails()}

    async def copies(self, asked_under: dict[str, str], people: Collection[str]) -> tuple[Counter[str], Counter[str]]:
        """How often each request, and each of these people, was mailed. A Message-ID is one mail's."""
        caught = [(message_id, to) for message_id, to in await self.caught() if to in people]
        return Counter(asked_under[message_id] for message_id, _ in caught), Counter(to for _, to in caught)

    async def _come(self, service: str, query: str, count: int, *arguments: Any) -> None:
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
