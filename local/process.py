"""How a child process is started: as whom, and so that it cannot outlive the one who started it.

PostgreSQL refuses to run as root, so root starts the servers as an unprivileged user. `setpriv` (util-linux) does both
that and the parent-death signal, and then becomes the program: the process ID is the server's own. Systems without it
(macOS) start programs directly, and a launcher killed with -9 leaves them behind there.
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
# The narrowest capability first. Containers often lack the first and have the second.
SEARCH_CAPABILITIES = ("dac_read_search", "dac_override")
STOP_SECONDS = 20


@functools.cache
def has_setpriv() -> bool:
    """Whether setpriv is here and knows the parent-death signal (busybox's does not)."""
    setpriv = shutil.which("setpriv")
    return setpriv is not None and _succeeds((setpriv, "--pdeathsig", "KILL", "true"))


def dies_with_parent(signal_name: str) -> tuple[str, ...]:
    """A command prefix. The signal comes when the *thread* that started the child ends, so: only from the main one."""
    if not has_setpriv() or threading.current_thread() is not threading.main_thread():
        return ()
    return ("setpriv", "--pdeathsig", signal_name)


@dataclass(frozen=True)
class Identity:
    """Whom the embedded servers run as. No `user` means: as ourselves."""

    user: str | None = None
    uid: int = -1
    gid: int = -1
    capability: str | None = None

    def prefix(self, death_signal: str) -> tuple[str, ...]:
        """The command prefix for a child of the main thread."""
        mortal = dies_with_parent(death_signal)
        if self.user is None:
            return mortal
        become: tuple[str, ...] = (f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups")
        if self.capability:
            kept = f"-all,+{self.capability}"
            become = (*become, f"--inh-caps={kept}", f"--ambient-caps={kept}")
        return (*(mortal or ("setpriv",)), *become)

    def can_run(self, *command: str) -> bool:
        """Tried, not worked out: no reading of mode bits, and no `test -x`, knows of every capability and mount."""
        # Through a shell: setpriv itself still has root's capabilities when it looks for its program.
        return _succeeds((*self.prefix("KILL"), "sh", "-c", 'exec "$@"', "sh", *command))

    def take(self, path: Path) -> None:
        """Makes `path` the identity's own."""
        if self.user is not None:
            os.chown(path, self.uid, self.gid)


def is_alive(pid: int) -> bool:
    """Whether the process exists and still runs: one that is dead and not yet reaped by its parent does not."""
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
        return Path("/proc/self").exists() is False  # no /proc on this system: take the first answer


def _succeeds(command: tuple[str, ...]) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _system_user(directory: Path) -> pwd.struct_passwd:
    owner = directory.stat().st_uid
    if owner != 0:  # whoever made the data first goes on
        return pwd.getpwuid(owner)
    for name in SYSTEM_USERS:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise LocalError("PostgreSQL refuses to run as root, and this system has no user to run it as")


def choose_identity(directory: Path) -> Identity:
    """For servers that keep their data in the existing `directory`. Raises LocalError when root finds nobody."""
    if os.geteuid() != 0:
        return Identity()
    if not has_setpriv():
        raise LocalError("PostgreSQL refuses to run as root: install util-linux (setpriv), or run as another user")
    user = _system_user(directory)
    # A directory below somebody's 0700 home cannot be walked to by that user; root may lend the right to walk.
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
