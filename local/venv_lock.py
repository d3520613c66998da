"""Keeps `.venv` as it is while a stack runs from it. The Makefile calls this module before any package is installed.

A rebuild empties `.venv`, but processes of a running stack still import from it, and restarted ones start from it. So
each stack shares a lock on `.venv.lock` until its last process has ended, and `make` takes that lock alone.
"""

import contextlib
import fcntl
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from . import lock
from .settings import CHECKOUT, LocalError

READABLE_BY_ALL = 0o644
CURRENT, REFUSED, INTERRUPTED = 0, 1, 130


def _open(checkout: Path) -> int:
    # For reading: a lock needs no more, and the file may belong to another user.
    return os.open(checkout / ".venv.lock", os.O_RDONLY | os.O_CREAT, READABLE_BY_ALL)


def share(checkout: Path, state: Path) -> int | None:
    """Take the lock for the stack in `state`. The returned descriptor holds it; None: this user cannot create the file.

    Raises LocalError while `.venv` is being rebuilt.
    """
    try:
        descriptor = _open(checkout)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise LocalError("`make` is rebuilding .venv; start again when it has ended") from None
    # Only for the message of a rebuild that waits.
    with contextlib.suppress(OSError), (checkout / ".venv.lock").open("a", encoding="utf-8") as file:
        file.write(f"{state}\n")
    return descriptor


def users(checkout: Path) -> str:
    """The running stacks that share the lock, for people."""
    states = dict.fromkeys((checkout / ".venv.lock").read_text(encoding="utf-8").splitlines())
    running = [f"in {state} (process {lock.holder(Path(state))})" for state in states if lock.is_held(Path(state))]
    return " and ".join(running) or "of this checkout"


def rebuild(target: Path, sources: Sequence[Path], command: Sequence[str], checkout: Path = CHECKOUT) -> int:
    """Run `command` with the lock held alone, unless another `make` has made `target` meanwhile. Returns its status."""
    descriptor = _open(checkout)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say(
                f"A requirements file is newer than .venv, but the stack {users(checkout)} runs from it. "
                "Stop that stack (Ctrl-C): this command waits for it, then rebuilds .venv."
            )
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if target.exists() and all(target.stat().st_mtime >= source.stat().st_mtime for source in sources):
            return CURRENT
        with contextlib.suppress(OSError):
            os.truncate(checkout / ".venv.lock", 0)
        return subprocess.run(command, check=False).returncode
    finally:
        os.close(descriptor)


def refuse_if_shared(checkout: Path = CHECKOUT) -> int:
    """Returns the exit status: 1, with a message, while a stack runs from `.venv`."""
    descriptor = _open(checkout)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        _say(f"The stack {users(checkout)} runs from .venv: stop it first (Ctrl-C).")
        return REFUSED
    finally:
        os.close(descriptor)
    return CURRENT


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main(arguments: Sequence[str]) -> int:
    """`rebuild TARGET SOURCE… -- COMMAND…`, or `refuse`. Paths are relative to the checkout."""
    checkout = Path.cwd()
    if arguments[0] == "refuse":
        return refuse_if_shared(checkout)
    border = arguments.index("--")
    target, *sources = map(Path, arguments[1:border])
    try:
        return rebuild(target, sources, arguments[border + 1 :], checkout)
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
