"""A streaming standby of a stack's server, made and promoted with an operator's own commands in bash."""

import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from local.binaries import find_postgres
from local.process import choose_identity

from .backups import PROGRAMS
from .stack import Stack


@dataclass(frozen=True)
class Standby:
    """Of `server`, whose `Stack.standbys` names the port."""

    stack: Stack
    server: str
    preamble: str  # shell functions that the commands use

    @property
    def data(self) -> Path:
        return self.stack.directory / self.server / "standby" / "data"

    def prepare(self) -> None:
        """Make the folder for its data directory, which the server's user owns."""
        folder = self.data.parent
        folder.mkdir()
        choose_identity(self.stack.directory / self.server / "postgres").take(folder)

    @property
    def _environment(self) -> Mapping[str, str]:
        superuser, port = self.stack.server_url(self.server), self.stack.ports[self.stack.standbys[self.server]]
        address = urlsplit(superuser).netloc.rpartition("@")[2]
        return {
            "PRIMARY_URL": superuser,
            "STANDBY_URL": superuser.replace(address, f"127.0.0.1:{port}"),
            "REPLICATION_URL": f"postgresql://replicator:PASSWORD@{address}/?application_name=standby1",
            "PGDATA": str(self.data),
            "PGPORT": str(port),  # where the standby listens
            "SIGNUP_URL": self.stack.signup_url,
            "MAIL_URL": self.stack.mail_url,
            "OPERATOR_KEY": self.stack.operator_key,
        }

    def run(self, command: str) -> str:
        """Run as the server's user; return what it printed. Fails with its errors."""
        folder = self.stack.directory / self.server / "postgres"
        identity = choose_identity(folder)
        programs = find_postgres(identity, folder.parent / "binaries").folder
        for name in ("psql", "pg_basebackup", "pg_ctl"):
            if not (programs / name).exists():  # a copy, which has only what a running server needs
                shutil.copy2(PROGRAMS / name, programs / name)
        done = subprocess.run(
            [*identity.prefix("KILL"), "bash", "-c", f"{self.preamble}\n{command}"],
            cwd=self.data.parent,
            env={"PATH": f"{programs}:/usr/local/bin:/usr/bin:/bin", **self._environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        if (self.data / "postmaster.pid").exists():
            self.run('pg_ctl --pgdata="$PGDATA" --mode=immediate --wait stop')
