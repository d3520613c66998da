"""PgBouncer in transaction mode before a stack's databases, and what the services must be told behind it."""

import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from local.ports import LOOPBACK, pick_free
from local.process import STOP_SECONDS, choose_identity, dies_with_parent
from local.settings import LocalError

from .databases import PASSWORDS

_FIRST_WITH_PREPARED_STATEMENTS = (1, 21)
# docs/deploying.md explains each line.
_SETTINGS = """
pool_mode = transaction
default_pool_size = 10
max_client_conn = 500
query_wait_timeout = 5
server_login_retry = 1
"""


class PgBouncer:
    """One process, before the databases `signup` and `mail` of one server. Raises LocalError when it does not start."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "pgbouncer"
        self._port = pick_free()
        self._process: subprocess.Popen[bytes] | None = None
        self._program = shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin") or ""
        if not self._program:
            raise LocalError("pgbouncer is not installed (Debian: apt-get install pgbouncer)")

    @property
    def settings(self) -> dict[str, str]:
        """Of the services. Wake-ups need LISTEN, which a shared session cannot have."""
        if self._version() >= _FIRST_WITH_PREPARED_STATEMENTS:
            return {"WAKEUP": "poll"}
        return {"WAKEUP": "poll", "DATABASE_STATEMENT_CACHE_SIZE": "0"}

    def start(self, server_url: str) -> None:
        """Run before the server of `server_url`."""
        self._directory.mkdir()
        server = urlsplit(server_url)
        databases = "".join(f"{name} = host={server.hostname} port={server.port}\n" for name in ("signup", "mail"))
        prepared = "max_prepared_statements = 200\n" if self._version() >= _FIRST_WITH_PREPARED_STATEMENTS else ""
        users, configuration = self._directory / "users", self._directory / "pgbouncer.ini"
        users.write_text("".join(f'"{role}" "{password}"\n' for role, password in PASSWORDS.items()))
        configuration.write_text(
            f"[databases]\n{databases}[pgbouncer]{_SETTINGS}{prepared}"
            f"listen_addr = {LOOPBACK}\nlisten_port = {self._port}\nunix_socket_dir =\n"
            f"auth_type = scram-sha-256\nauth_file = {users}\n"
        )
        # It refuses to run as root.
        identity = choose_identity(self._directory)
        for path in (self._directory, users, configuration):
            identity.take(path)
        with (self._directory.parent / "pgbouncer.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*(identity.prefix("KILL") or dies_with_parent("KILL")), self._program, str(configuration)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
            )

    def url(self, url: str) -> str:
        """`url` of a database, through this process."""
        parts = urlsplit(url)
        return parts._replace(netloc=f"{parts.username}:{parts.password}@{LOOPBACK}:{self._port}").geturl()

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)

    def _version(self) -> tuple[int, int]:
        said = subprocess.run([self._program, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"PgBouncer (\d+)\.(\d+)", said)
        assert found, said
        return int(found[1]), int(found[2])
