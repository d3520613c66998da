"""An embedded PostgreSQL cluster: creates and starts it, and creates its roles and databases.

Tests need only `start_server`. The stack uses `Cluster` and has supervisord run its command.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from .binaries import PostgresBinaries, find_postgres
from .credentials import Vault, write_private
from .ports import LOOPBACK, pick_free
from .process import Identity, RunningServer, choose_identity, is_alive
from .settings import LocalError

SUPERUSER = "postgres"
START_SECONDS = 60  # recovery after a crash may take a while
# sockaddr_un holds 104 to 108 bytes, and PostgreSQL appends "/.s.PGSQL.12345".
LONGEST_SOCKET_FOLDER = 85
STATUS_LINE = 7  # of postmaster.pid: "starting", "stopping", "ready"
# Fast shutdown. SIGTERM means smart shutdown, which waits until the last client disconnects.
STOP_SIGNAL = signal.SIGINT
# For tests: neither durability nor strong passwords.
UNSAFE_BUT_FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_wal_size": "128MB",
    "scram_iterations": "1",  # hashes that a login costs both sides, for the passwords that this server sets
}


@dataclass(frozen=True)
class Cluster:
    """An existing data directory, and how to run a server on it."""

    folder: Path
    binaries: PostgresBinaries
    identity: Identity
    port: int
    password: str
    durable: bool

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def url(self) -> str:
        return f"postgresql://{SUPERUSER}:{self.password}@{LOOPBACK}:{self.port}/postgres"

    @property
    def command(self) -> tuple[str, ...]:
        """Becomes the server itself. Shuts down fast when its parent dies."""
        sockets = str(self.folder) if len(str(self.folder)) < LONGEST_SOCKET_FOLDER else ""
        options = {
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": f'"{sockets}"' if sockets else "",
            "max_connections": "200",
            "shared_buffers": "256MB",
            "log_min_messages": "warning",
            "timezone": "UTC",
            "log_timezone": "UTC",
        }
        if not self.durable:
            options |= UNSAFE_BUT_FAST
        settings = (part for name, value in options.items() for part in ("-c", f"{name}={value}"))
        server = (str(self.binaries.postgres), "-D", str(self.data), "-p", str(self.port), *settings)
        return (*self.identity.prefix("INT"), *server)

    def is_ready(self) -> bool:
        """Whether a live server on this directory accepts connections, according to its postmaster.pid."""
        lines = _pid_file_lines(self.data)
        return len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready" and is_alive(int(lines[0]))


def prepare_cluster(directory: Path, password: str, port: int, *, durable: bool = True) -> Cluster:
    """Create the cluster below `directory` unless it exists, and remove leftovers of a crash.

    The caller makes sure that no other process uses `directory`.
    """
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder = directory / "postgres"
    folder.mkdir(mode=0o700, exist_ok=True)
    identity = choose_identity(folder)
    identity.take(folder)
    binaries = find_postgres(identity, directory / "binaries")
    cluster = Cluster(folder, binaries, identity, port, password, durable)
    if cluster.data.exists():
        _require_same_major(cluster)
        _clear_stale_pid_file(cluster.data)
    else:
        _initdb(cluster)
    return cluster


def _initdb(cluster: Cluster) -> None:
    fresh = cluster.folder / "data.new"  # renamed when complete: a kill in between leaves nothing half-made
    shutil.rmtree(fresh, ignore_errors=True)
    password_file = cluster.folder / "password"
    write_private(password_file, cluster.password + "\n")
    cluster.identity.take(password_file)
    # The built-in locale provider sorts the same on every machine; the C library's does not.
    options = (
        *(f"--username={SUPERUSER}", f"--pwfile={password_file}", "--auth=scram-sha-256", "--encoding=UTF8"),
        *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
        *(() if cluster.durable else ("--no-sync",)),
    )
    command = (*cluster.identity.prefix("KILL"), str(cluster.binaries.initdb), "-D", str(fresh), *options)
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/")
    finally:
        password_file.unlink()
    if done.returncode:
        raise LocalError(f"initdb failed:\n{done.stdout}{done.stderr}")
    fresh.rename(cluster.data)


def _require_same_major(cluster: Cluster) -> None:
    have = (cluster.data / "PG_VERSION").read_text(encoding="ascii").strip()
    version = subprocess.run(
        (str(cluster.binaries.postgres), "--version"), check=True, capture_output=True, text=True
    ).stdout.split()[-1]
    if version.split(".")[0] != have:
        raise LocalError(f"{cluster.data} is of PostgreSQL {have}, but this is {version}; move it, or run pg_upgrade")


def _pid_file_lines(data: Path) -> list[str]:
    try:
        return (data / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []


def _clear_stale_pid_file(data: Path) -> None:
    """Stop a server that a killed launcher left behind, and wait for its end. Remove a file that names another program
    (its process ID was reused, for example after a reboot): it would keep our server from starting. Keep the file of a
    dead server: PostgreSQL needs it to wait for that server's last children.
    """
    lines = _pid_file_lines(data)
    if not lines or not is_alive(pid := int(lines[0])):
        return
    command = subprocess.run(("ps", "-o", "args=", "-p", str(pid)), check=False, capture_output=True, text=True)
    if command.returncode == 0 and str(data) not in command.stdout:
        (data / "postmaster.pid").unlink()
        return
    deadline = time.monotonic() + START_SECONDS
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, STOP_SIGNAL)
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)


def start_server(directory: Path, port: int | None = None, *, durable: bool = True) -> RunningServer:
    """Start a server in `directory` without supervision. Its data stays there between calls.

    `durable=False` turns fsync off, for tests. The server ends with `stop()` or with this process.
    """
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    password = Vault(directory / "secrets.json").get_or_make("POSTGRES_PASSWORD")
    cluster = prepare_cluster(directory, password, port or pick_free(), durable=durable)
    log = directory / "postgres.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            cluster.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while not cluster.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise LocalError(f"PostgreSQL does not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)
    return RunningServer(cluster.url, cluster.port, process, STOP_SIGNAL)


def database_url(superuser_url: str, database: str, user: str, password: str) -> str:
    """The URL of another database and user on the same server."""
    parts = urlsplit(superuser_url)
    netloc = f"{user}:{password}@{parts.hostname}:{parts.port}"
    return urlunsplit(parts._replace(netloc=netloc, path=f"/{database}"))


async def create_databases(
    superuser_url: str, passwords: Mapping[str, str], databases: Sequence[str] = ("signup", "mail")
) -> None:
    """For each name X: database X, its owner X_owner (for migrations) and X_app (for the processes). Idempotent.

    `passwords` holds one for each of these roles. No other role may connect, and only the owner creates tables.
    """
    connection = await asyncpg.connect(superuser_url)
    try:
        for role in (f"{name}_{kind}" for name in databases for kind in ("owner", "app")):
            await _ensure_role(connection, role, passwords[role])
        if "mail" in databases:
            # The mail service names who holds back its change feed, with the begin of that transaction.
            await connection.execute("GRANT pg_read_all_stats TO mail_owner")
        for name in databases:
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
                await connection.execute(f'CREATE DATABASE "{name}" OWNER "{name}_owner"')
            await connection.execute(
                f'REVOKE ALL ON DATABASE "{name}" FROM PUBLIC; GRANT CONNECT ON DATABASE "{name}" TO "{name}_app"'
            )
    finally:
        await connection.close()
    for name in databases:
        await _give_schema_to_owner(urlunsplit(urlsplit(superuser_url)._replace(path=f"/{name}")), name)


async def _ensure_role(connection: "asyncpg.Connection[asyncpg.Record]", role: str, password: str) -> None:
    known = await connection.fetchval("SELECT true FROM pg_roles WHERE rolname = $1", role)
    verb = "ALTER" if known else "CREATE"
    # Role statements take no parameters; the server does the quoting.
    statement = await connection.fetchval(
        "SELECT format($1 || ' ROLE %I LOGIN PASSWORD %L', $2::text, $3::text)", verb, role, password
    )
    await connection.execute(statement)


async def _give_schema_to_owner(url: str, name: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            f'ALTER SCHEMA public OWNER TO "{name}_owner"; REVOKE CREATE ON SCHEMA public FROM PUBLIC;'
            f' GRANT USAGE ON SCHEMA public TO "{name}_app"'
        )
    finally:
        await connection.close()
