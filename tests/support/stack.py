"""The whole product as real processes: PostgreSQL, Valkey, the mail catcher, two APIs and two workers.

Each can be killed with -9 and started again.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import httpx
import redis

from local import postgres, valkey
from local.ports import pick_free
from local.process import RunningServer, dies_with_parent
from local.settings import LocalError
from shared.db import api_keys

from . import cluster_template
from .databases import PASSWORDS, ROOT, Server, prepare
from .pgbouncer import PgBouncer

T = TypeVar("T")

SIGNUP_SCOPES = (
    "signups:write",
    "users:read",
    "audit:read",
    "audit:operate",
    "users:erase",
    "users:import",
    "stats:read",
    "webhooks:manage",
)
MAIL_SCOPES = (
    *("mails:send", "mails:read", "mails:operate", "mails:all"),
    *("audit:read", "audit:operate", "operators:name", "webhooks:manage"),
)
PATIENCE_SECONDS = 180.0
# Longer than any process drains.
STOP_SECONDS = 120.0
PROCESSES = ("signup-api", "signup-worker", "mail-api", "mail-worker")


async def eventually(
    ask: Callable[[], Awaitable[T]], until: Callable[[T], bool], *, seconds: float = PATIENCE_SECONDS, what: str = ""
) -> T:
    """Poll until `until(answer)` holds. Raises TimeoutError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            seen = await ask()
        except (httpx.TransportError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: {error!r}") from error
        else:
            if until(seen):
                return seen
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what or 'the condition'} never came; last seen: {seen!r}"[:2000])
        await asyncio.sleep(0.02)


@dataclass
class Stack:
    """Start with `start_all`, end with `stop_all`. Each stack has its own ports and databases.

    `clusters` names the PostgreSQL server of each database; with its own server a database can be restored alone.
    `standbys` names a second server for a first one: every URL has both, and the test makes it.
    `checkout` is where migrations and processes come from. `pooler` stands between the processes and their databases.
    """

    directory: Path
    settings: dict[str, str] = field(default_factory=dict)
    clusters: dict[str, str] = field(default_factory=lambda: {"signup": "postgres", "mail": "postgres"})
    standbys: dict[str, str] = field(default_factory=dict)
    checkout: Path = ROOT
    pooler: PgBouncer | None = None
    processes: dict[str, "subprocess.Popen[bytes]"] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    operator_key: str = ""
    _servers: dict[str, RunningServer] = field(default_factory=dict)
    _environment: dict[str, str] = field(default_factory=dict)
    _ledgers: dict[str, Server] = field(default_factory=dict)

    def start_all(self) -> None:
        servers = dict.fromkeys([*self.clusters.values(), "valkey"])
        listeners = ("signup", "mail", "signup-operations", "mail-operations", "smtp", "catcher")
        self.ports |= {name: pick_free() for name in (*listeners, *servers, *self.standbys.values())}
        for name in servers:
            services = [service for service, cluster in self.clusters.items() if cluster == name]
            is_migrated = bool(services) and self._copy_cluster(name, services)
            self.start_server(name)
            if services:
                server = self._servers[name]
                ledger = (
                    Server(server.url, server.pid)
                    if is_migrated
                    else prepare(server.url, server.pid, services, checkout=self.checkout)
                )
                self._ledgers |= dict.fromkeys(services, ledger)
        if self.pooler is not None:
            self.pooler.start(self._servers["postgres"].url)
        mail_key, operator_key = api_keys.mint(), api_keys.mint()
        asyncio.run(self._register(mail_key, operator_key))
        self.operator_key = operator_key.text
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.endswith("_DATABASE_URL")},
            "PYTHONUNBUFFERED": "1",
            "LOG_LEVEL": "INFO",
            "REDIS_URL": self._servers["valkey"].url,
            "SIGNUP_RUNTIME_DATABASE_URL": self._through_pooler(self._url("signup", "signup_app")),
            "MAIL_RUNTIME_DATABASE_URL": self._through_pooler(self._url("mail", "mail_app")),
            "SIGNUP_PORT": str(self.ports["signup"]),
            "MAIL_PORT": str(self.ports["mail"]),
            "SIGNUP_OPERATIONS_PORT": str(self.ports["signup-operations"]),
            "MAIL_OPERATIONS_PORT": str(self.ports["mail-operations"]),
            "MAIL_URL": self.mail_url,
            "MAIL_API_KEY": mail_key.text,
            "SIGNUP_PUBLIC_URL": self.signup_url,
            "SIGNUP_TOKEN_KEYS": secrets.token_hex(32),
            "SIGNUP_LIMIT_PER_IP": "off",
            "SIGNUP_WEBHOOK_ALLOW_PRIVATE": "true",  # the stories' subscribers run on this machine
            "MAIL_WEBHOOK_ALLOW_PRIVATE": "true",
            "MAIL_WEBHOOK_KEYS": secrets.token_hex(32),
            "MAIL_GATEWAYS": f"smtp://127.0.0.1:{self.ports['smtp']}?name=catcher&connections=8",
            "CATCHER_SMTP_PORT": str(self.ports["smtp"]),
            "CATCHER_HTTP_PORT": str(self.ports["catcher"]),
            "STATE_DIR": str(self.directory / "state"),
            # Short leases, so that a killed worker's rows are free again within a test.
            "SIGNUP_LEASE_SECONDS": "3",
            "MAIL_TIMEOUT_SECONDS": "2",
            "MAIL_LEASE_SECONDS": "3",
            "RECONCILE_LAG_SECONDS": "0",
            **(self.pooler.settings if self.pooler else {}),
            **self.settings,
        }
        for name in ("catcher", *PROCESSES):
            self.start(name)

    def _copy_cluster(self, name: str, services: list[str]) -> bool:
        """Whether the cluster of a server could be had from a template."""
        if cluster_template.templates is None or self.checkout != ROOT:
            return False
        cluster_template.templates.copy(services, self.directory / name)
        return True

    async def _register(self, mail_key: api_keys.ApiKey, operator_key: api_keys.ApiKey) -> None:
        for service, key, client, scopes in (
            ("mail", mail_key, "signup", ("mails:send", "mails:read", "mails:operate")),
            ("mail", operator_key, "operator", MAIL_SCOPES),
            ("signup", operator_key, "operator", SIGNUP_SCOPES),
        ):
            connection = await asyncpg.connect(self.owner_url(service))
            await api_keys.store(connection, key, client=client, scopes=scopes, days=None, actor="test")
            await connection.close()

    @property
    def environment(self) -> dict[str, str]:
        """What each process gets."""
        return dict(self._environment)

    @property
    def signup_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['signup']}"

    @property
    def mail_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['mail']}"

    @property
    def catcher_url(self) -> str:
        return f"http://127.0.0.1:{self.ports['catcher']}"

    def owner_url(self, service: str) -> str:
        return self._url(service, f"{service}_owner")

    def _url(self, service: str, role: str) -> str:
        url = self._ledgers[service].url(service, role)
        if (standby := self.standbys.get(self.clusters[service])) is None:
            return url
        first, database = url.rsplit("/", 1)
        return f"{first},127.0.0.1:{self.ports[standby]}/{database}?target_session_attrs=read-write"

    def _through_pooler(self, url: str) -> str:
        return self.pooler.url(url) if self.pooler else url

    def server_url(self, name: str) -> str:
        """The superuser's URL of a server."""
        return self._servers[name].url

    def start_server(self, name: str) -> None:
        start = valkey.start_server if name == "valkey" else postgres.start_server
        self._servers[name] = start(self.directory / name, self.ports[name], durable=True)

    async def _restart_server(self, name: str) -> bool:
        """Try once, as a supervisor would: PostgreSQL refuses while children of the killed server hold its memory."""
        try:
            self.start_server(name)
        except LocalError:
            return False
        return True

    def stop_server(self, name: str) -> None:
        self._servers[name].stop()

    def kill_server(self, name: str) -> None:
        os.kill(self._servers[name].pid, signal.SIGKILL)
        self._servers[name].stop()

    def start(self, name: str, **settings: str) -> None:
        """Start a process; `settings` override the stack's for this start only."""
        service, _, role = name.partition("-")
        module = [f"services.{service}", role] if role else [f"local.mail_{name}"]
        log = (self.directory / f"{name}.log").open("ab")
        self.processes[name] = subprocess.Popen(
            [*dies_with_parent("KILL"), sys.executable, "-m", *module],
            cwd=self.checkout,
            env=self._environment | settings,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        log.close()

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def terminate(self, name: str) -> int:
        """Send SIGTERM; return the exit status."""
        self.processes[name].terminate()
        return self.processes[name].wait(STOP_SECONDS)

    def is_running(self, name: str) -> bool:
        return name in self.processes and self.processes[name].poll() is None

    async def bring_back(self) -> None:
        """Start every server and process that does not run; wait until both APIs are ready."""
        for name in self._servers:
            if self._servers[name].process.poll() is not None:
                await eventually(lambda name=name: self._restart_server(name), bool, what=f"{name} again")  # type: ignore[misc]
        for name in ("catcher", *PROCESSES):
            if not self.is_running(name):
                self.start(name)
        async with httpx.AsyncClient() as http:
            for url in (
                f"{self.signup_url}/health/ready",
                f"{self.mail_url}/health/ready",
                f"{self.catcher_url}/readyz",
            ):
                await eventually(lambda url=url: http.get(url), lambda answer: answer.status_code == 200, what=url)  # type: ignore[misc]

    def stop_all(self) -> None:
        for name in (*PROCESSES, "catcher"):
            if self.is_running(name):
                self.processes[name].terminate()
        late = [name for name, process in self.processes.items() if not _ends(process)]
        if self.pooler is not None:
            self.pooler.stop()
        for server in self._servers.values():
            server.stop()
        assert not late, f"{late} did not stop on SIGTERM"

    def log_of(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text()


@dataclass(frozen=True)
class Ledgers:
    """Both services as an operator, the catcher, and both databases."""

    stack: Stack
    signup: httpx.AsyncClient
    mail: httpx.AsyncClient
    anonymous: httpx.AsyncClient
    catcher: httpx.AsyncClient

    async def sign_up(self, email: str, name: str = "Åsa Öberg") -> httpx.Response:
        return await self.anonymous.post("/v1/signups", json={"email": email, "name": name})

    async def caught(self, email: str) -> list[dict[str, Any]]:
        """The catcher's messages to an address."""
        answer = await self.catcher.get("/api/v1/search", params={"query": f"to:{email}", "limit": 1000})
        found: list[dict[str, Any]] = answer.json()["messages"]
        return found

    async def mails(self, **filters: str) -> list[dict[str, Any]]:
        """All pages of `GET /v1/mails`."""
        items: list[dict[str, Any]] = []
        cursor: str | None = None
        while True:
            params = {**filters, "limit": "500"} | ({"cursor": cursor} if cursor else {})
            page = (await self.mail.get("/v1/mails", params=params)).json()
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items

    async def user(self, email: str) -> dict[str, Any]:
        (user,) = (await self.signup.get("/v1/users", params={"email": email})).json()["items"]
        found: dict[str, Any] = user
        return found

    async def fetchval(self, service: str, query: str, *arguments: Any) -> Any:
        connection = await asyncpg.connect(self.stack.owner_url(service))
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def execute(self, service: str, query: str, *arguments: Any) -> None:
        connection = await asyncpg.connect(self.stack.owner_url(service))
        try:
            await connection.execute(query, *arguments)
        finally:
            await connection.close()


def _ends(process: "subprocess.Popen[bytes]") -> bool:
    """Wait for its end. One that does not end in time is killed."""
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False
    return True


def redis_answers(url: str) -> bool:
    try:
        return bool(redis.Redis.from_url(url, socket_connect_timeout=1).ping())
    except redis.RedisError:
        return False


__all__ = ["PASSWORDS", "PROCESSES", "Ledgers", "Stack", "eventually", "redis_answers"]
