"""What faults act upon: the stack, the proxies between its parts, the gateway and the subscriber."""

import asyncio
import struct
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import redis

from local import postgres
from local.credentials import Vault
from local.ports import pick_free
from tests.support.databases import PASSWORDS
from tests.support.stack import PROCESSES

from .gateway import Gateway
from .proxy import Address, Proxy
from .receiver import Receiver
from .stack import SETTINGS, LabStack
from .traffic import Traffic

T = TypeVar("T")
SERVICES = ("signup", "mail")
# Who speaks to whom, through a proxy each.
PAIRS = (
    "clients-signup",
    "clients-mail",
    "signup-mail",
    "mail-gateway",
    "signup-postgres",
    "mail-postgres",
    "all-valkey",
    "all-subscriber",
)
_MAX_CONNECTIONS = 200
# kill -9, and SIGTERM: uvicorn ends with the signal that it got.
_EXPECTED = (-9, -15, 0)
# Not the own session.
END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = $1 AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
)
_SQL_SECONDS = 20.0


class Site:
    """`open`, `close`; the rest is for faults and the conductor, from the main thread."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.traffic = Traffic()
        self.gateway, self.receiver = Gateway(seed), Receiver()
        self.stack = LabStack(directory)
        self.proxies = {pair: Proxy(pick_free(), lambda pair=pair: self._address(pair)) for pair in PAIRS}  # type: ignore[misc]
        self.notes: list[tuple[float, str]] = []
        self.held: set[str] = set()
        self._sessions: dict[str, list[asyncpg.Connection]] = {}
        self._strangers: dict[str, list[asyncio.StreamWriter]] = {}

    def open(self) -> None:
        self.traffic.start()
        self.run(self.gateway.listener.open(pick_free()))
        self.run(self.receiver.listener.open(pick_free()))
        for proxy in self.proxies.values():
            self.run(proxy.open())
        self.stack.mount_disks()
        self.stack.settings = SETTINGS | self._wiring()
        self.stack.start_all()

    def close(self) -> None:
        self.stack.stop_all()
        self.stack.unmount_disks()
        for proxy in self.proxies.values():
            self.run(proxy.close())
        self.run(self.gateway.listener.close())
        self.run(self.receiver.listener.close())
        self.traffic.stop()

    def _wiring(self) -> dict[str, str]:
        """Every connection of the product goes through a proxy."""
        ports = {pair: proxy.port for pair, proxy in self.proxies.items()}
        password = Vault(self._made("valkey") / "secrets.json").get_or_make("VALKEY_PASSWORD")
        return {
            "MAIL_URL": f"http://127.0.0.1:{ports['signup-mail']}",
            "MAIL_GATEWAYS": f"smtp://127.0.0.1:{ports['mail-gateway']}?name=lab&connections=4",
            "REDIS_URL": f"redis://:{password}@127.0.0.1:{ports['all-valkey']}/0",
            "SIGNUP_PUBLIC_URL": f"http://127.0.0.1:{ports['clients-signup']}",
            **{
                f"{service.upper()}_RUNTIME_DATABASE_URL": postgres.database_url(
                    f"postgresql://127.0.0.1:{ports[f'{service}-postgres']}/",
                    service,
                    f"{service}_app",
                    PASSWORDS[f"{service}_app"],
                )
                for service in SERVICES
            },
        }

    def _made(self, name: str) -> Path:
        folder = self.stack.directory / name
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        return folder

    def _address(self, pair: str) -> Address:
        ports = {
            "clients-signup": "signup",
            "clients-mail": "mail",
            "signup-mail": "mail",
            "all-valkey": "valkey",
            "signup-postgres": "signup-postgres",
            "mail-postgres": "mail-postgres",
        }
        lab = {"mail-gateway": self.gateway.listener.port, "all-subscriber": self.receiver.listener.port}
        return "127.0.0.1", lab.get(pair) or self.stack.ports[ports[pair]]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.traffic.run(work)

    def note(self, text: str) -> None:
        """Keep what a person should see beside the verdict."""
        self.notes.append((time.time(), text))

    # --- what is down on purpose, and what has to be started again

    def hold(self, name: str) -> None:
        self.held.add(name)

    def release(self, name: str) -> None:
        """Start it again; a server that cannot start yet is started by `supervise`."""
        self.held.discard(name)
        self.supervise()

    def supervise(self) -> None:
        """Start what died without a fault that holds it down, as a supervisor does."""
        for name in self.stack.dead():
            if name in self.held:
                continue
            if name in PROCESSES and (status := self.stack.processes[name].returncode) not in _EXPECTED:
                self.note(f"{name} ended by itself with status {status}")
            self.stack.start_again(name)

    # --- PostgreSQL and Valkey, past the proxies

    def superuser_url(self, service: str, database: str = "postgres") -> str:
        parts = urlsplit(self.stack.server_url(f"{service}-postgres"))
        return urlunsplit(parts._replace(path=f"/{database}"))

    def sql(self, service: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """As the superuser, who has connections reserved."""
        return self.run(self._sql(self.superuser_url(service), statement, *arguments))

    async def _sql(self, url: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(url, timeout=_SQL_SECONDS)
        try:
            return await connection.fetch(statement, *arguments, timeout=_SQL_SECONDS)
        finally:
            await connection.close(timeout=_SQL_SECONDS)

    def use_up_connections(self, service: str) -> None:
        self.run(self._use_up_connections(service))

    async def _use_up_connections(self, service: str) -> None:
        held = self._strangers.setdefault(service, [])
        superuser = await asyncpg.connect(self.superuser_url(service), timeout=_SQL_SECONDS)
        try:
            await self._connect_until_refused(service, held)
            await superuser.fetch(END_SESSIONS, service)
            await self._connect_until_refused(service, held)
        finally:
            superuser.terminate()

    async def _connect_until_refused(self, service: str, held: list[asyncio.StreamWriter]) -> None:
        """Sessions that never log in: each holds a place, and costs the machine next to nothing."""
        startup = struct.pack("!i", 196_608) + f"user\0{service}_app\0database\0{service}\0\0".encode()
        while len(held) < 2 * _MAX_CONNECTIONS:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.stack.ports[f"{service}-postgres"])
            writer.write(struct.pack("!i", len(startup) + 4) + startup)
            if await reader.read(1) != b"R":
                writer.transport.abort()
                return
            held.append(writer)

    def free_connections(self, service: str) -> None:
        self.run(self._free_connections(service))

    async def _free_connections(self, service: str) -> None:
        for writer in self._strangers.pop(service, []):
            writer.transport.abort()

    def hold_snapshot(self, service: str, *, writes: bool) -> None:
        self.run(self._hold_snapshot(service, writes=writes))

    async def _hold_snapshot(self, service: str, *, writes: bool) -> None:
        connection = await asyncpg.connect(self.stack.owner_url(service), timeout=_SQL_SECONDS)
        self._sessions[f"snapshot of {service}"] = [connection]
        await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        await connection.fetchval("SELECT pg_current_xact_id()::text" if writes else "SELECT count(*) FROM history")

    def close_sessions(self, name: str) -> None:
        self.run(self._close_sessions(name))

    async def _close_sessions(self, name: str) -> None:
        for connection in self._sessions.pop(name, []):
            connection.terminate()

    def valkey(self, *command: str) -> None:
        client = redis.Redis.from_url(self.stack.server_url("valkey"), socket_timeout=_SQL_SECONDS)
        try:
            client.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            client.close()

    def server_pid(self, name: str) -> int:
        return self.stack.pid_of_server(name)
