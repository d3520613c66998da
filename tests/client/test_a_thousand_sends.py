"""The client against a network that loses every third answer, while the mail API is killed: one mail for each send."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import asyncpg

from counterfoil_client import AsyncMail, Mail, MailRecord, Retry, request_id
from local.ports import pick_free
from local.process import dies_with_parent
from shared.db import api_keys
from tests.support.databases import ROOT, Server

from .lossy_proxy import LossyProxy

SENDS = 1000
# The answers at which the process is killed.
KILL_AT = frozenset({200, 600, 1000})
# As patient as a relay: a killed process is back within seconds, on a busy machine later.
PATIENT = Retry(deadline_seconds=120, attempt_seconds=10, base_seconds=0.05, cap_seconds=0.5)


class MailApi:
    """The process `mail api`, killed with -9 and started again on the same port."""

    def __init__(self, database_url: str, redis_url: str, log: Path) -> None:
        self.port = pick_free()
        self.kills = 0
        self._log = log
        self._environment = {
            **os.environ,
            "MAIL_RUNTIME_DATABASE_URL": database_url,
            "REDIS_URL": redis_url,
            "MAIL_PORT": str(self.port),
        }
        self._process = self._start()

    def kill(self) -> None:
        """It is down at once, and on its way up again."""
        self.stop()
        self.kills += 1
        self._process = self._start()

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def _start(self) -> "subprocess.Popen[bytes]":
        with self._log.open("ab") as log:
            return subprocess.Popen(
                [*dies_with_parent("KILL"), sys.executable, "-m", "services.mail", "api"],
                cwd=ROOT,
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


@asynccontextmanager
async def mail_database(server: Server) -> AsyncIterator[tuple[str, str]]:
    """The runtime role's URL of a mail database, and the key of a client."""
    name, key = await server.clone("mail"), api_keys.mint()
    owner = await asyncpg.connect(server.url(name, "mail_owner"))
    await api_keys.store(owner, key, client="shop", scopes=("mails:send", "mails:read"), days=None, actor="test")
    await owner.close()
    yield server.url(name, "mail_app"), key.text
    await server.drop(name)


class Sender:
    """Sends what is left, by each kind of call in turn."""

    def __init__(self, url: str, key: str) -> None:
        self._url, self._key = url, key
        self._left: Iterator[int] = iter(range(SENDS))
        self.results: dict[str, MailRecord] = {}

    async def on_asyncio(self, mail: AsyncMail) -> None:
        for n in self._left:
            send = mail.send_once if n % 2 else mail.send
            name = request_id("order", n)
            self.results[name] = await send(request_id=name, to=f"{n}@x.example", subject="S", text="T")

    def in_a_thread(self) -> None:
        with Mail(self._url, api_key=self._key, retry=PATIENT) as mail:
            for n in self._left:
                send = mail.send_once if n % 2 else mail.send
                name = request_id("order", n)
                self.results[name] = send(request_id=name, to=f"{n}@x.example", subject="S", text="T")

    async def run(self) -> None:
        async with AsyncMail(self._url, api_key=self._key, retry=PATIENT) as mail:
            tasks = [self.on_asyncio(mail) for _ in range(8)]
            threads = [asyncio.to_thread(self.in_a_thread) for _ in range(4)]
            await asyncio.gather(*tasks, *threads)


async def _ledger(url: str) -> list[tuple[str, UUID]]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT request_id, id FROM mails")
    await connection.close()
    return [(row["request_id"], row["id"]) for row in rows]


async def test_a_thousand_sends_are_a_thousand_mails_whatever_is_lost_or_killed(
    postgres_server: Server, valkey_url: str, tmp_path: Path
) -> None:
    async with mail_database(postgres_server) as (url, key):
        api = MailApi(url, valkey_url, tmp_path / "mail-api.log")
        proxy = LossyProxy(api.port, lambda answers: api.kill() if answers in KILL_AT else None)
        try:
            async with proxy.serving():
                sender = Sender(proxy.url, key)
                await sender.run()
        finally:
            api.stop()
        assert (api.kills, proxy.lost) == (len(KILL_AT), proxy.answers // 3)
        assert proxy.lost > SENDS // 3
        assert any(mail.replayed for mail in sender.results.values())
        ledger = await _ledger(url)
        assert len(ledger) == SENDS
        assert dict(ledger) == {name: mail.id for name, mail in sender.results.items()}
