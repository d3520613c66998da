"""One stack per state directory.

supervisord inherits the lock. So the lock is held until the last process of a killed launcher has ended, and a new
start waits for that instead of competing for ports and data.
"""

import asyncio
import fcntl
import os
import time
from pathlib import Path

from .process import is_alive
from .settings import LocalError

# After a launcher was killed, supervisord needs up to 20 seconds to stop each group.
LEFTOVER_SECONDS = 75
TRY_SECONDS = 0.1


class AlreadyRunningError(LocalError):
    """Another launcher holds the state directory."""


def is_held(state: Path) -> bool:
    """Whether a launcher, or a process that it left behind, uses the state directory now."""
    try:
        descriptor = os.open(state / "lock", os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def holder(state: Path) -> str:
    """The process ID of the launcher that last held the lock; empty when none did."""
    try:
        return (state / "lock").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return ""


def launcher_is_alive(state: Path) -> bool:
    """Whether the launcher that last held the lock still runs."""
    pid = holder(state)
    return pid.isdecimal() and is_alive(int(pid))


async def hold(state: Path) -> int:
    """Take the lock. The returned descriptor holds it until every process that has it closes it."""
    path = state / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if launcher_is_alive(state) or time.monotonic() > deadline:
                os.close(descriptor)
                raise AlreadyRunningError(
                    f"already running in {state} (process {holder(state)}); stop that one, or set another STATE_DIR"
                ) from None
            await asyncio.sleep(TRY_SECONDS)
            continue
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return descriptor
