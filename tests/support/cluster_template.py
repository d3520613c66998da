"""Migrated PostgreSQL clusters, each made once in a test process and copied for its stacks: `initdb` and the migrations
take as long as all the rest of a stack's start.
"""

import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from local import postgres

from .databases import prepare
from .memory import folder_in_memory


class ClusterTemplates:
    """Until `close`, which removes them."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, ...], Path] = {}
        self._cleanup = ExitStack()

    def copy(self, services: Sequence[str], folder: Path) -> None:
        """A cluster with the databases of these services, migrated to the newest schema, for a server in `folder`."""
        template = self._made.get(key := tuple(services)) or self._make(key)
        folder.mkdir(mode=0o711, parents=True)
        # With its owner: the server may run as another user.
        subprocess.run(["cp", "--archive", f"{template}/.", str(folder)], check=True)

    def _make(self, services: tuple[str, ...]) -> Path:
        disk = Path(self._cleanup.enter_context(tempfile.TemporaryDirectory()))
        folder = self._cleanup.enter_context(folder_in_memory(disk))
        server = postgres.start_server(folder, durable=False)
        try:
            prepare(server.url, server.pid, services)
        finally:
            server.stop()
        self._made[services] = folder
        return folder

    def close(self) -> None:
        self._cleanup.close()
        self._made.clear()


# Of a pytest run; benchmarks and the lab make their clusters anew.
templates: ClusterTemplates | None = None
