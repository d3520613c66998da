"""An embedded Valkey server: configuration, start and readiness."""

import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .binaries import find_valkey
from .credentials import Vault, write_private
from .ports import LOOPBACK, pick_free
from .process import Identity, RunningServer, choose_identity
from .settings import LocalError

START_SECONDS = 30
PING_SECONDS = 1.0


@dataclass(frozen=True)
class Store:
    """An existing data folder, and how to run a server on it."""

    folder: Path
    program: Path
    identity: Identity
    port: int
    password: str
    configuration: Path

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    @property
    def command(self) -> tuple[str, ...]:
        """Becomes the server itself. Reads its configuration, which holds the password, from standard input."""
        return (*self.identity.prefix("TERM"), str(self.program), "-")

    def is_ready(self) -> bool:
        try:
            with socket.create_connection((LOOPBACK, self.port), PING_SECONDS) as link:
                link.settimeout(PING_SECONDS)
                link.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                answer = b""
                while answer.count(b"\r\n") < len(("AUTH", "PING")) and (more := link.recv(1024)):
                    answer += more
        except OSError:
            return False
        return answer == b"+OK\r\n+PONG\r\n"  # it answers -LOADING while it loads its data


def prepare_store(directory: Path, password: str, port: int, *, durable: bool = True) -> Store:
    """Create the folder and the configuration file below `directory`."""
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    folder = directory / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    identity = choose_identity(folder)
    identity.take(folder)
    configuration = directory / "valkey.conf"
    write_private(
        configuration,
        "\n".join(
            (
                f"bind {LOOPBACK}",
                f"port {port}",
                f"requirepass {password}",
                f'dir "{_quoted(folder)}"',
                f"appendonly {'yes' if durable else 'no'}",
                'save ""',  # the append-only file holds everything already
                "maxmemory-policy noeviction",  # jobs must not be evicted
                "hz 1",  # its housekeeping; an idle server wakes no more often
                "daemonize no",
                "",
            )
        ),
    )
    program = find_valkey(identity, directory / "binaries")
    return Store(folder, program, identity, port, password, configuration)


def _quoted(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace('"', '\\"')


def start_server(directory: Path, port: int | None = None, *, durable: bool = False) -> RunningServer:
    """Start a server in `directory` without supervision. It ends with `stop()` or with this process."""
    directory.mkdir(mode=0o711, parents=True, exist_ok=True)
    password = Vault(directory / "secrets.json").get_or_make("VALKEY_PASSWORD")
    store = prepare_store(directory, password, port or pick_free(), durable=durable)
    log = directory / "valkey.log"
    with log.open("ab") as output, store.configuration.open("rb") as configuration:
        process = subprocess.Popen(
            store.command, stdin=configuration, stdout=output, stderr=output, cwd="/", start_new_session=True
        )
    deadline = time.monotonic() + START_SECONDS
    while not store.is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise LocalError(f"Valkey does not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.01)
    return RunningServer(store.url, store.port, process)
