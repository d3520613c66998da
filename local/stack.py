"""The order of a start: servers, databases, migrations, keys, processes, run.env. Then monitoring, then the stop."""

import asyncio
import contextlib
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from . import commands, keys, lock, ports, runenv, venv_lock
from .credentials import Vault
from .postgres import Cluster, create_databases, prepare_cluster
from .process import is_alive
from .process_monitor import ProcessMonitor
from .programs import CATCHER, GROUPS, SERVERS, SERVICES, catcher_program, server_programs, service_programs
from .settings import LocalError, Settings
from .supervisor import Program, Supervisor, SupervisorGoneError
from .valkey import Store, prepare_store
from .wiring import Wiring, command_environment, drop_own_urls, http_url, inherited_environment, role_passwords, wire

POLL_SECONDS = 0.05  # while starting and stopping; faster polling would slow the start down
MONITOR_SECONDS = 0.25  # a killed process is restarted, and in run.env, within a second
READY_SECONDS = 90
GROUP_STOP_SECONDS = 22  # supervisord kills after 20
# A start fails when a process has ended this often; a running stack restarts without limit. PostgreSQL does not start
# while children of a killed server hold its memory. A service that rejects its settings does so every time.
MAX_ENDS, MAX_ENDS_OF_SERVICES = 5, 2
STOPPED_STATES = ("STOPPED", "EXITED", "FATAL", "UNKNOWN")
HTTP_OK = 200
PROBES = (("CATCHER_HTTP_PORT", "/readyz"), ("SIGNUP_PORT", "/health/ready"), ("MAIL_PORT", "/health/ready"))


async def _migrate(settings: Settings, environment: Mapping[str, str]) -> None:
    await commands.migrate(settings.checkout, environment)


@dataclass(frozen=True)
class Recipe:
    """The steps that tests replace with small stand-ins."""

    services: Callable[[Settings, Wiring], list[Program]] = service_programs
    migrate: Callable[[Settings, Mapping[str, str]], Awaitable[None]] = _migrate
    mint_keys: Callable[[Settings, Vault, Mapping[str, str]], Awaitable[None]] = keys.ensure_minted
    register_keys: Callable[[Settings, Vault, Mapping[str, str]], Awaitable[None]] = keys.ensure_known


RECIPE = Recipe()


def say(text: str) -> None:
    """Print to the terminal, which may be closed."""
    with contextlib.suppress(OSError):
        print(text, flush=True)


class Stack:
    """Everything on one machine. Call `start`, then `monitor` until something else ends it, then always `stop`."""

    def __init__(self, settings: Settings, recipe: Recipe = RECIPE) -> None:
        self.settings = settings
        self.facts: dict[str, str] = {}  # the contents of run.env
        self._recipe = recipe
        self._supervisor = Supervisor(settings.state, inherited_environment(settings))
        self._monitor = ProcessMonitor(self._supervisor)
        self._programs: list[Program] = []
        self._cluster: Cluster | None = None
        self._store: Store | None = None
        self._locks: list[int] = []  # descriptors

    async def start(self) -> None:
        """Raises LocalError. `stop` ends what has started by then."""
        state = self.settings.state
        # Root's servers run as another user, which must be able to enter here. Each file with a secret is 0600.
        state.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
        # Removed first: it describes an earlier run, and readers wait for the file of the new one.
        if not lock.launcher_is_alive(state):
            self.settings.run_env.unlink(missing_ok=True)
        self._locks.append(await lock.hold(state))
        if (shared := venv_lock.share(self.settings.checkout, state)) is not None:
            self._locks.append(shared)
        self.settings.run_env.unlink(missing_ok=True)
        ports.require_free(self.settings.ports)
        vault = Vault(state / "secrets.json")
        self.settings = ports.with_operations_ports(drop_own_urls(self.settings, vault), vault)
        await self._prepare_servers(vault)
        wiring = wire(self.settings, vault, self._cluster, self._store)
        await self._start_supervisor(wiring)
        self._start_groups(SERVERS, CATCHER)
        await self._until("PostgreSQL and Valkey to be ready", self._servers_are_ready)
        if self._cluster:
            await create_databases(self._cluster.url, role_passwords(vault))
        environment = command_environment(self.settings, wiring)
        await self._recipe.migrate(self.settings, environment)
        await self._recipe.mint_keys(self.settings, vault, environment)
        # The scripts are written again, now with signup's key for the mail service.
        wiring = replace(wiring, mail_api_key=vault.get("MAIL_API_KEY") or "")
        for program in self._recipe.services(self.settings, wiring):
            self._supervisor.write_script(program)
        self._start_groups(SERVICES)
        await self._until("the services to be ready", self._services_are_ready, MAX_ENDS_OF_SERVICES)
        await self._recipe.register_keys(self.settings, vault, environment)
        self._monitor.poll()
        self._publish(vault, wiring)

    async def _prepare_servers(self, vault: Vault) -> None:
        settings = self.settings
        # In threads: initdb takes a third of a second.
        cluster = store = None
        if settings.signup_database_url is None:
            port = ports.kept_port(vault, "POSTGRES_PORT", settings.postgres_port)
            password = vault.get_or_make("postgres")
            cluster = asyncio.to_thread(prepare_cluster, settings.state, password, port)
        if settings.redis_url is None:
            port = ports.kept_port(vault, "REDIS_PORT", settings.redis_port)
            store = asyncio.to_thread(prepare_store, settings.state, vault.get_or_make("valkey"), port)
        self._store = await store if store else None
        self._cluster = await cluster if cluster else None

    async def _start_supervisor(self, wiring: Wiring) -> None:
        self._programs = [
            *server_programs(self._cluster, self._store),
            catcher_program(self.settings),
            *self._recipe.services(self.settings, wiring),
        ]
        self._supervisor.configure(self._groups)
        for program in self._programs:
            self._supervisor.write_script(program)
        await self._run_supervisor()

    async def _run_supervisor(self) -> None:
        self._supervisor.start(held=self._locks)
        while not self._supervisor.answers():
            if not self._supervisor.is_alive:
                raise LocalError(f"supervisord does not start; see {self._supervisor.logs / 'supervisord.out'}")
            await asyncio.sleep(POLL_SECONDS)
        self._monitor.begin()

    @property
    def _groups(self) -> dict[str, list[str]]:
        groups = {group: [p.name for p in self._programs if p.group == group] for group in GROUPS}
        return {group: names for group, names in groups.items() if names}

    def _start_groups(self, *groups: str) -> None:
        for group in groups:
            if group in self._groups:
                self._supervisor.start_group(group)

    async def _servers_are_ready(self) -> bool:
        return all(server is None or server.is_ready() for server in (self._cluster, self._store))

    async def _services_are_ready(self) -> bool:
        for variable, path in PROBES:
            if await keys.http_status(self.settings.ports[variable], path) != HTTP_OK:
                return False
        return self._monitor.all_are_steady()

    async def _until(self, what: str, condition: Callable[[], Awaitable[bool]], most_ends: int = MAX_ENDS) -> None:
        give_up = time.monotonic() + READY_SECONDS
        next_poll = 0.0
        while not await condition():
            if (now := time.monotonic()) > give_up:
                raise LocalError(f"waited {READY_SECONDS} s for {what}; see {self._supervisor.logs}")
            if now > next_poll:
                self._monitor.poll(most_ends)
                next_poll = now + MONITOR_SECONDS
            await asyncio.sleep(POLL_SECONDS)

    def _publish(self, vault: Vault, wiring: Wiring) -> None:
        self.facts = {
            "SIGNUP_URL": http_url(self.settings, "SIGNUP_PORT"),
            "MAIL_URL": http_url(self.settings, "MAIL_PORT"),
            "CATCHER_URL": http_url(self.settings, "CATCHER_HTTP_PORT"),
            "SIGNUP_OPERATIONS_URL": http_url(self.settings, "SIGNUP_OPERATIONS_PORT"),
            "MAIL_OPERATIONS_URL": http_url(self.settings, "MAIL_OPERATIONS_PORT"),
            "OPERATOR_KEY": vault.get("OPERATOR_KEY") or "",
            "SIGNUP_DATABASE_URL": wiring.signup_database[0],
            "MAIL_DATABASE_URL": wiring.mail_database[0],
            "POSTGRES_URL": self._cluster.url if self._cluster else "",
            "REDIS_URL": wiring.redis_url,
            "MAIL_GATEWAYS": wiring.mail_gateways,
        }
        self._write_run_env()

    def _write_run_env(self) -> None:
        variables = {program.name: program.pid_variable for program in self._programs}
        self.facts |= {variables[name]: str(pid) for name, pid in self._monitor.pids.items()}
        runenv.write(self.settings.run_env, self.facts)

    async def monitor(self) -> None:
        """Restart processes that end and keep run.env current, until canceled."""
        while True:
            await asyncio.sleep(MONITOR_SECONDS)
            try:
                for name in (changed := self._monitor.poll()):
                    say(f"{name} was restarted (process {self._monitor.pids[name]})")
                if changed:
                    self._write_run_env()
            except SupervisorGoneError:
                if not self._supervisor.is_alive:
                    await self._revive()

    async def _revive(self) -> None:
        """After supervisord was killed: wait until its children end, or kill them, then start everything again."""
        say("supervisord has died; starting everything again")
        for _ in range(int(GROUP_STOP_SECONDS / POLL_SECONDS)):
            if not any(map(is_alive, self._monitor.pids.values())):
                break
            await asyncio.sleep(POLL_SECONDS)
        self._supervisor.kill_everything(filter(is_alive, self._monitor.pids.values()))
        await self._run_supervisor()
        self._start_groups(SERVERS, CATCHER)
        await self._until("PostgreSQL and Valkey to be ready", self._servers_are_ready)
        self._start_groups(SERVICES)

    async def stop(self) -> None:
        """Stop services first, servers last. May be called whatever has been started."""
        if not self._locks:
            return
        with contextlib.suppress(SupervisorGoneError):
            for group in reversed(self._groups) if self._supervisor.is_alive else ():
                await self._stop_group(group)
        self._supervisor.shut_down()
        # It holds passwords, and process IDs that will be reused.
        self.settings.run_env.unlink(missing_ok=True)
        while self._locks:
            os.close(self._locks.pop())

    async def _stop_group(self, group: str) -> None:
        self._supervisor.stop_group(group)
        give_up = time.monotonic() + GROUP_STOP_SECONDS
        while time.monotonic() < give_up:
            if all(p.state in STOPPED_STATES for p in self._supervisor.processes() if p.group == group):
                return
            await asyncio.sleep(POLL_SECONDS)

    def force(self) -> None:
        """Kill everything at once. No promise is broken by that (P8)."""
        self._supervisor.kill_everything(filter(is_alive, self._monitor.pids.values()))
