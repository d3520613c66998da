"""A folder in memory for servers whose files no test reads: a cloned database is 300 of them, and dear on a disk."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.process import is_alive

_MEMORY = Path("/dev/shm")  # noqa: S108 - Linux; elsewhere, or where little is free, the disk serves
_ENOUGH_BYTES = 3 << 30
_PREFIX = "counterfoil-tests-"


@contextmanager
def folder_in_memory(otherwise: Path) -> Iterator[Path]:
    """Removed afterwards. `otherwise`: what is used where there is no memory to spare."""
    try:
        _clear()
        enough = shutil.disk_usage(_MEMORY).free >= _ENOUGH_BYTES
        folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_MEMORY)) if enough else None
    except OSError:
        folder = None
    if folder is None:
        yield otherwise
        return
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _clear() -> None:
    """Remove what a killed test run has left."""
    for left in _MEMORY.glob(f"{_PREFIX}*"):
        if not is_alive(int(left.name.removeprefix(_PREFIX).partition("-")[0])):
            shutil.rmtree(left, ignore_errors=True)
