"""The product for a benchmark: real servers, and only the processes that are measured."""

import asyncio
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import orjson
from pydantic import JsonValue

from local.ports import pick_free
from services.mail.intake.template_engine import Rendered, Templates
from services.mail.settings import Settings as MailSettings
from services.signup.settings import Settings as SignupSettings
from services.signup.verification_token import TokenRing
from shared.db.pool import DatabaseOptions, open_database
from tests.support.databases import ROOT
from tests.support.mails import insert_mails
from tests.support.stack import PROCESSES, Stack

from .sink import running_sink

# On the project's disk: a temporary directory may be in memory, where a flush costs nothing.
STATE = ROOT / "var" / "bench-state"
_POLL_SECONDS = 0.1
_PATIENCE_SECONDS = 600.0
_START_SECONDS = 40.0
SMTP_CONNECTIONS = 8
LEASE_SECONDS = float(MailSettings.model_fields["mail_lease_seconds"].default)
# The services' defaults; the stack's own values are shorter, for tests.
_DEFAULTS = {
    "SIGNUP_LEASE_SECONDS": str(SignupSettings.model_fields["signup_lease_seconds"].default),
    "MAIL_TIMEOUT_SECONDS": str(SignupSettings.model_fields["mail_timeout_seconds"].default),
    "MAIL_LEASE_SECONDS": str(LEASE_SECONDS),
}

# Whether $2 sessions of the worker $1 listen for wake-ups. Their last query is LISTEN, or later a probe.
LISTENING = """
SELECT count(*) >= $2::int FROM pg_stat_activity
WHERE application_name = $1 AND (query ILIKE 'LISTEN%' OR query = 'SELECT 1')
"""

# The rows of `sign_up` for many people. The clock is read just before the commit.
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


def rendered_mail() -> Rendered:
    """A verification mail, as the mail service renders it."""
    variables: dict[str, JsonValue] = {
        "name": "Åsa Öberg",
        "link": f"https://bench.example/verify/{'x' * 64}",
        "expires_in_hours": 72,
    }
    return Templates.load().render("verification", "en", variables)


class Product:
    """Its own durable PostgreSQL, Valkey and processes. All methods block."""

    def __init__(self, directory: Path, sink_port: int, settings: Mapping[str, str]) -> None:
        self.sink_port = sink_port
        gateways = f"smtp://127.0.0.1:{sink_port}?name=sink&connections={SMTP_CONNECTIONS}"
        self.stack = Stack(directory, {"MAIL_GATEWAYS": gateways, **_DEFAULTS, **settings})

    def start(self) -> None:
        self.stack.start_all()
        self.stack.kill("catcher")  # mails go to the sink
        self.run_only(*PROCESSES)
        self.run_only()

    def run_only(self, *names: str) -> None:
        """Stop all other processes, start the named ones, and wait until they are ready."""
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
            self.await_value("postgres", LISTENING, True, name, 1, seconds=_START_SECONDS)
            return
        url = {"signup": self.stack.signup_url, "mail": self.stack.mail_url}[service]
        deadline = time.monotonic() + _START_SECONDS
        while not _is_ready(url):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{name} did not become ready:\n{self.stack.log_of(name)[-2000:]}")
            time.sleep(_POLL_SECONDS)

    def url(self, database: str) -> str:
        """The URL of `signup` or `mail` as its owner, or of `postgres` as the superuser."""
        return self.superuser_url if database == "postgres" else self.stack.owner_url(database)

    @property
    def superuser_url(self) -> str:
        return self.stack._servers["postgres"].url

    @property
    def environment(self) -> dict[str, str]:
        return self.stack._environment

    def fetchval(self, database: str, query: str, *arguments: Any) -> Any:
        return asyncio.run(_fetchval(self.url(database), query, *arguments))

    def execute(self, database: str, statement: str) -> None:
        asyncio.run(_execute(self.url(database), statement))

    def await_value(
        self, database: str, query: str, wanted: Any, *arguments: Any, seconds: float = _PATIENCE_SECONDS
    ) -> None:
        """Wait until the query returns `wanted`. Polls slowly: times come from the rows, not from this loop."""
        deadline = time.monotonic() + seconds
        while (seen := self.fetchval(database, query, *arguments)) != wanted:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{query}: got {seen}, expected {wanted}")
            time.sleep(_POLL_SECONDS)

    def owe_mails(self, tag: str, count: int) -> float:
        """Commit `count` people with an owed mail each, and wake the worker. Returns the database's time."""
        ring = TokenRing.from_setting(self.environment["SIGNUP_TOKEN_KEYS"])
        link = {"base": self.stack.signup_url, "key_id": ring.signing_key_id, "ttl_seconds": 259_200}
        return asyncio.run(_owe_mails(self.url("signup"), tag, count, orjson.dumps(link).decode()))

    def queue_mails(self, count: int) -> float:
        """Commit `count` rendered mails, due now, and wake the worker. Returns the database's time."""
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


async def _execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
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
    rendered = rendered_mail()
    database = await open_database(DatabaseOptions(url, "benchmark"))
    try:
        await insert_mails(database.pool, count, text=rendered.text, html=rendered.html)
        at: float = await database.pool.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
        await database.pool.execute("SELECT pg_notify('mail_queue', '')")
    finally:
        await database.close()
    return at


@contextmanager
def running_product(
    name: str, *, record: Path | None = None, sink_port: int | None = None, settings: Mapping[str, str] | None = None
) -> Iterator[Product]:
    """A product with a mail sink; only the servers run. `sink_port`: the port of an existing sink."""
    directory = STATE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o711, parents=True)
    product = Product(directory, sink_port or pick_free(), settings or {})
    try:
        product.start()
        if sink_port:
            yield product
        else:
            with running_sink(product.sink_port, record):
                yield product
                product.run_only()  # before the sink stops
    finally:
        product.stop()
        shutil.rmtree(directory, ignore_errors=True)


def output_of(command: list[str], environment: dict[str, str] | None = None) -> str:
    """The output of a command. Raises RuntimeError with the end of stderr when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} … failed:\n{done.stderr[-2000:]}")
    return done.stdout
