"""Runs generators, compilers and generated clients."""

import subprocess
from pathlib import Path

from tests.support.certificates import with_certificates

# An installation over a slow line; only a failing run waits so long.
PATIENCE_SECONDS = 500


def run(*command: str | Path, cwd: Path, **environment: str) -> None:
    """Fails with what the program has written when its status is not 0."""
    done = subprocess.run(
        command, cwd=cwd, env=with_certificates() | environment, capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
