"""How a child process is started: as which user, and so that it cannot outlive its parent.

PostgreSQL refuses to run as root, so root starts the servers as an unprivileged user. `setpriv` (util-linux) sets the
user and the parent-death signal and then becomes the program, so the process ID is the server's own. Systems without
it (macOS) start programs directly, and there a launcher that is killed with -9 leaves them behind.
"""

import functools
import os
import pwd
import shutil
import signal
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from .settings import LocalError

SYSTEM_USERS = ("postgres", "nobody", "daemon")
# The narrower capability first. Containers often have only the second.
SEARCH_CAPABILITIES = ("dac_read_search", "dac_override")
STOP_SECONDS = 20


@functools.cache
def has_setpriv() -> bool:
    """Whether setpriv exists and supports the parent-death signal (busybox's does not)."""
    setpriv = shutil.which("setpriv")
    return setpriv is not None and _succeeds((setpriv, "--pdeathsig", "KILL", "true"))


def dies_with_parent(signal_name: str) -> tuple[str, ...]:
    """A command prefix. The signal comes when the *thread* that started the child ends, so only the main one may."""
    if not has_setpriv() or threading.current_thread() is not threading.main_thread():
        return ()
    return ("setpriv", "--pdeathsig", signal_name)


@dataclass(frozen=True)
class Identity:
    """The user that the embedded servers run as. No `user` means the current one."""

    user: str | None = None
    uid: int = -1
    gid: int = -1
    capability: str | None = None

    def prefix(self, death_signal: str) -> tuple[str, ...]:
        """The command prefix for a child of the main thread."""
        end_with_parent = dies_with_parent(death_signal)
        if self.user is None:
            return end_with_parent
        switch_user: tuple[str, ...] = (f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups")
        if self.capability:
            kept = f"-all,+{self.capability}"
            switch_user = (*switch_user, f"--inh-caps={kept}", f"--ambient-caps={kept}")
        return (*(end_with_parent or ("setpriv",)), *switch_user)

    def can_run(self, *command: str) -> bool:
        """Runs the command to find out: mode bits and `test -x` do not account for every capability and mount."""
        # Through a shell: setpriv itself still has root's capabilities when it looks for its program.
        return _succeeds((*self.prefix("KILL"), "sh", "-c", 'exec "$@"', "sh", *command))

    def take(self, path: Path) -> None:
        """Make the identity own `path`."""
        if self.user is not None:
            os.chown(path, self.uid, self.gid)


def is_alive(pid: int) -> bool:
    """Whether the process exists and runs. A dead one that its parent has not reaped does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    try:
        # The state follows the command, which is in parentheses and may contain anything.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] not in "ZX"
    except (OSError, IndexError):
        return Path("/proc/self").exists() is False  # no /proc on this system: trust the signal


def _succeeds(command: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _system_user(directory: Path) -> pwd.struct_passwd:
    owner = directory.stat().st_uid
    if owner != 0:  # keep the user that owns existing data
        return pwd.getpwuid(owner)
    for name in SYSTEM_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LocalError(f"PostgreSQL refuses to run as root, and no user exists of {', '.join(SYSTEM_USERS)}")


def choose_identity(directory: Path) -> Identity:
    """For servers with data in the existing `directory`. Raises LocalError when root finds no usable user."""
    if os.geteuid() != 0:
        return Identity()
    if not has_setpriv():
        raise LocalError("PostgreSQL refuses to run as root: install util-linux (setpriv), or run as another user")
    user = _system_user(directory)
    # That user cannot reach a directory below a 0700 home. Root may lend it the capability.
    for capability in (None, *SEARCH_CAPABILITIES):
        identity = Identity(user.pw_name, user.pw_uid, user.pw_gid, capability)
        if identity.can_run("sh", "-c", 'cd "$1"', "sh", str(directory.parent)):
            return identity
    raise LocalError(
        f"{user.pw_name}, the user that PostgreSQL has to run as, cannot reach {directory}; choose another STATE_DIR"
    )


@dataclass
class RunningServer:
    """A server started by `start_server`. It ends with `stop()`, or with the main thread of this process."""

    url: str
    port: int
    process: subprocess.Popen[bytes]
    stop_signal: signal.Signals = signal.SIGTERM

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
