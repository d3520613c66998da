"""The product for a benchmark: real servers and processes, of which only those that are measured run."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
from pydantic import JsonValue

from local.ports import pick_free
from services.mail.intake.template_engine import Rendered, Templates
from services.signup.accounts.verification_token import TokenRing
from shared.db.pool import DatabaseOptions, open_database
from tests.support.databases import ROOT
from tests.support.mails import insert_mails
from tests.support.stack import PROCESSES, Stack

from .sink import running_sink

# On the disk that holds the project: a temporary directory may be in memory, where a flush costs nothing.
STATE = ROOT / "var" / "bench-state"
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 600.0
_START_SECONDS = 40.0
SMTP_CONNECTIONS = 8

# The worker's LISTEN is up: from here on it is woken, and does not only poll.
_LISTENS = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE application_name = $1 AND query ILIKE 'LISTEN%')"

# What `sign_up` would have left for so many people. The clock is read just before the commit that shows the rows.
_OWE_MAILS = """
WITH people AS (
    INSERT INTO users (email, email_key, name, source, last_mail_at)
    SELECT address, address, 'Åsa Öberg', 'web', now()
    FROM (SELECT format('%s-%s@bench.example', $1::text, n) AS address FROM generate_series(1, $2::int) n)
    RETURNING id, email, name, locale
)
INSERT INTO outbox (effect, user_id, payload, expires_at)
SELECT 'mail', id,
       jsonb_build_object('to', jsonb_build_object('email', email, 'name', name), 'locale', locale,
                          'template', 'verification', 'link', $3::jsonb),
       now() + interval '7 days'
FROM people
"""


def letter() -> Rendered:
    """A verification mail, as the mail service renders it."""
    variables: dict[str, JsonValue] = {
        "name": "Åsa Öberg",
        "link": f"https://bench.example/verify/{'x' * 64}",
        "expires_in_hours": 72,
    }
    return Templates.load().render("verification", "en", variables)


class Product:
    """Its own PostgreSQL (durable), Valkey and processes. Everything here blocks: nothing else is to be done."""

    def __init__(self, directory: Path, sink_port: int) -> None:
        self.sink_port = sink_port
        self.stack = Stack(
            directory,
            {
                "MAIL_GATEWAYS": f"smtp://127.0.0.1:{sink_port}?name=sink&connections={SMTP_CONNECTIONS}",
                # As the services have them by default; the stack's own are for impatient tests.
                "SIGNUP_LEASE_SECONDS": "30",
                "MAIL_TIMEOUT_SECONDS": "10",
                "MAIL_LEASE_SECONDS": "30",
            },
        )

    def start(self) -> None:
        self.stack.start_all()
        self.stack.kill("catcher")  # mails go to the sink
        self.run_only(*PROCESSES)
        self.run_only()

    def run_only(self, *names: str) -> None:
        """Stop what is not named, start what is, and wait until that works."""
        for name in PROCESSES:
            if name not in names and self.stack.is_running(name):
                self.stack.terminate(name)
        for name in names:
            if not self.stack.is_running(name):
                self.stack.start(name)
        for name in names:
            self._await_ready(name)

    def _await_ready(self, name: str) -> None:
        service, _, role = name.partition("-")
        if role == "worker":
            self.await_value("postgres", _LISTENS, True, name, seconds=_START_SECONDS)
            return
        url = {"signup": self.stack.signup_url, "mail": self.stack.mail_url}[service]
        deadline = time.monotonic() + _START_SECONDS
        while not _is_ready(url):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} does not start:\n{self.stack.log_of(name)[-2000:]}")
            time.sleep(_POLL_SECONDS)

    def url(self, database: str) -> str:
        """`signup` and `mail` as their owners, `postgres` as the superuser."""
        return self.superuser_url if database == "postgres" else self.stack.owner_url(database)

    @property
    def superuser_url(self) -> str:
        return self.stack._servers["postgres"].url

    @property
    def environment(self) -> dict[str, str]:
        return self.stack._environment

    def fetchval(self, database: str, query: str, *arguments: Any) -> Any:
        return asyncio.run(_fetchval(self.url(database), query, *arguments))

    def await_value(
        self, database: str, query: str, wanted: Any, *arguments: Any, seconds: float = _PATIENCE_SECONDS
    ) -> None:
        """Until the query answers `wanted`. Polled seldom: what is timed is read from the rows, not from here."""
        deadline = time.monotonic() + seconds
        while (seen := self.fetchval(database, query, *arguments)) != wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{query}: still {seen}, not {wanted}")
            time.sleep(_POLL_SECONDS)

    def owe_mails(self, tag: str, count: int) -> float:
        """People with a mail owed to each, in one commit, and a wake-up. Says when, by the database's clock."""
        ring = TokenRing.from_setting(self.environment["SIGNUP_TOKEN_KEYS"])
        link = {"base": self.stack.signup_url, "key_id": ring.signing_key_id, "ttl_seconds": 259_200}
        return asyncio.run(_owe_mails(self.url("signup"), tag, count, orjson.dumps(link).decode()))

    def queue_mails(self, count: int) -> float:
        """Rendered mails, due now, in one commit, and a wake-up. Says when, by the database's clock."""
        return asyncio.run(_queue_mails(self.url("mail"), count))

    def stop(self) -> None:
        self.stack.stop_all()


def _is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/ready").is_success
    except httpx.TransportError:
        return False


async def _fetchval(url: str, query: str, *arguments: Any) -> Any:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(query, *arguments, timeout=_PATIENCE_SECONDS)
    finally:
        await connection.close()


async def _owe_mails(url: str, tag: str, count: int, link: str) -> float:
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction():
            await connection.execute(_OWE_MAILS, tag, count, link)
            await connection.execute("SELECT pg_notify('signup_outbox', '')")
            at: float = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    finally:
        await connection.close()
    return at


async def _queue_mails(url: str, count: int) -> float:
    rendered = letter()
    database = await open_database(DatabaseOptions(url, "benchmark"))
    try:
        await insert_mails(database.pool, count, text=rendered.text, html=rendered.html)
        at: float = await database.pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        await database.pool.execute("SELECT pg_notify('mail_queue', '')")
    finally:
        await database.close()
    return at


@contextmanager
def running_product(name: str, *, record: Path | None = None, sink_port: int | None = None) -> Iterator[Product]:
    """A product with a sink before it, of which nothing runs yet but the servers. `sink_port`: one that is there."""
    directory = STATE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o711, parents=True)
    product = Product(directory, sink_port or pick_free())
    try:
        product.start()
        if sink_port:
            yield product
        else:
            with running_sink(product.sink_port, record):
                yield product
                product.run_only()  # before the sink leaves
    finally:
        product.stop()
        shutil.rmtree(directory, ignore_errors=True)


def output_of(command: list[str], environment: dict[str, str] | None = None) -> str:
    """What a yardstick prints. Raises RuntimeError with its last words when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} … failed:\n{done.stderr[-2000:]}")
    return done.stdout
