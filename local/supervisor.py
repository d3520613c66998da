"""supervisord: its configuration, its process, and calls over its unix socket.

Each program is a small shell script that exports its environment and then becomes the program. So secrets, spaces and
percent signs need only shell quoting, the process is the real one, and a script may be written (an API key minted)
after supervisord has started. supervisord starts nothing by itself: the stack says what starts when.
"""

import contextlib
import http.client
import os
import shlex
import signal
import socket
import subprocess
import sys
import xmlrpc.client
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .credentials import write_private
from .process import dies_with_parent

SOCKET = "supervisor.sock"
LONGEST_SOCKET_PATH = 90  # sockaddr_un holds 104 to 108 bytes; supervisord first binds a name with its pid appended
ANSWER_SECONDS = 5.0
STOP_WAIT_SECONDS = 20
# PostgreSQL's fast shutdown. On SIGTERM it would wait until the last client disconnects.
STOP_SIGNALS = {"postgres": "INT"}


@dataclass(frozen=True)
class Program:
    """One process. Programs of one `group` stop together; `stdin` is a file that it reads."""

    name: str
    command: Sequence[str]
    group: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: Path | None = None

    @property
    def pid_variable(self) -> str:
        return "PID_" + self.name.upper().replace("-", "_")

    def script(self) -> str:
        lines = [f"cd {shlex.quote(str(self.folder))} || exit 1"]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.environment.items()]
        source = f" < {shlex.quote(str(self.stdin))}" if self.stdin else " < /dev/null"
        return "\n".join([*lines, "exec " + shlex.join(self.command) + source, ""])


@dataclass(frozen=True)
class ProcessState:
    group: str
    name: str
    state: str  # STOPPED STARTING RUNNING BACKOFF STOPPING EXITED FATAL UNKNOWN
    pid: int  # 0: none
    seconds: int  # since it was started


class SupervisorGoneError(Exception):
    """supervisord does not answer."""


def configuration(groups: Mapping[str, Iterable[str]], logs: Path) -> str:
    """The text of supervisord.conf: programs by group, in start order.

    Paths are relative to supervisord's folder, so none needs quoting.
    """
    socket_path = SOCKET
    if len(str(logs.parent / "supervisor" / SOCKET)) > LONGEST_SOCKET_PATH and sys.platform == "linux":
        socket_path = f"/proc/self/cwd/{SOCKET}"  # supervisord makes relative paths absolute: too long
    lines = [
        "[supervisord]",
        "nodaemon=true",
        "silent=true",
        "nocleanup=true",
        "loglevel=info",
        "logfile=supervisord.log",
        "logfile_maxbytes=5MB",
        "logfile_backups=1",
        "pidfile=supervisord.pid",
        *(("user=root",) if os.geteuid() == 0 else ()),
        "[unix_http_server]",
        f"file={socket_path}",
        "chmod=0600",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for priority, (group, names) in enumerate(groups.items(), start=1):
        # When supervisord stops by itself, it stops the highest priority first.
        lines += [f"[group:{group}]", f"priority={priority}", "programs=" + ",".join(names)]
        for name in names:
            lines += [
                f"[program:{name}]",
                f"command=/bin/sh {name}.sh",
                "autostart=false",
                "autorestart=true",
                "startsecs=1",
                # supervisord's own retries wait one second longer each time, without limit. Here a quick death is FATAL
                # at once, and the process monitor restarts the program with a capped backoff.
                "startretries=0",
                f"stopsignal={STOP_SIGNALS.get(name, 'TERM')}",
                f"stopwaitsecs={STOP_WAIT_SECONDS}",
                "redirect_stderr=true",
                f"stdout_logfile=../{logs.name}/{name}.log",
                "stdout_logfile_maxbytes=20MB",
                "stdout_logfile_backups=3",
            ]
    return "\n".join(lines) + "\n"


class _Connection(http.client.HTTPConnection):
    def __init__(self, folder: Path) -> None:
        super().__init__("localhost", timeout=ANSWER_SECONDS)
        self._folder = folder

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(ANSWER_SECONDS)
        try:
            with contextlib.chdir(self._folder):  # a relative path is never too long
                self.sock.connect(SOCKET)
        except OSError:
            self.close()
            raise


class _Transport(xmlrpc.client.Transport):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def make_connection(self, host: tuple[str, dict[str, str]] | str) -> http.client.HTTPConnection:
        connection = _Connection(self._folder)
        self._connection = host, connection  # `close` expects it here
        return connection


class Supervisor:
    """One supervisord, in `state`/supervisor. Use it from the main thread only: see `dies_with_parent`."""

    def __init__(self, state: Path, environment: Mapping[str, str]) -> None:
        self.folder = state / "supervisor"
        self.logs = state / "log"
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def configure(self, groups: Mapping[str, Iterable[str]]) -> None:
        for folder in (self.folder, self.logs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(self.folder / "supervisord.conf", configuration(groups, self.logs))

    def write_script(self, program: Program) -> None:
        write_private(self.folder / f"{program.name}.sh", program.script())

    def start(self, held: Sequence[int] = ()) -> None:
        """Start supervisord, which keeps the descriptors `held` open. Poll `answers` until it is ready."""
        (self.folder / SOCKET).unlink(missing_ok=True)
        command = (sys.executable, "-m", "supervisor.supervisord", "-c", "supervisord.conf")
        with (self.logs / "supervisord.out").open("ab") as output:
            self._process = subprocess.Popen(
                (*dies_with_parent("TERM"), *command),
                cwd=self.folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                pass_fds=held,
                start_new_session=True,  # Ctrl-C must reach only the launcher, which stops groups in order
            )

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _call(self, method: str, *arguments: object) -> object:
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_Transport(self.folder))
        try:
            with proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise SupervisorGoneError(str(error)) from error

    def answers(self) -> bool:
        try:
            self._call("getState")
        except SupervisorGoneError:
            return False
        return True

    def start_group(self, group: str) -> None:
        self._call("startProcessGroup", group, False)

    def stop_group(self, group: str) -> None:
        """Send the stop signals. `processes` shows when they have worked."""
        self._call("stopProcessGroup", group, False)

    def restart(self, group: str, name: str) -> None:
        with contextlib.suppress(xmlrpc.client.Fault):  # it is running already
            self._call("startProcess", f"{group}:{name}", False)

    def processes(self) -> list[ProcessState]:
        answer = self._call("getAllProcessInfo")
        assert isinstance(answer, list)
        return [
            ProcessState(info["group"], info["name"], info["statename"], info["pid"], info["now"] - info["start"])
            for info in answer
        ]

    def log_size(self, name: str) -> int:
        """The size of a program's log: later output begins at this byte."""
        try:
            return (self.logs / f"{name}.log").stat().st_size
        except FileNotFoundError:
            return 0

    def log_tail(self, name: str, *, since: int = 0, lines: int = 25) -> str:
        """The end of a program's log, without anything before byte `since`."""
        try:
            log = (self.logs / f"{name}.log").read_bytes()
        except FileNotFoundError:
            return ""
        if since <= len(log):  # else the log has been rotated
            log = log[since:]
        return "\n".join(log.decode(errors="replace").splitlines()[-lines:])

    def shut_down(self) -> None:
        """End supervisord itself and every program that still runs."""
        if self._process is None:
            return
        try:
            self._call("shutdown")
        except (SupervisorGoneError, xmlrpc.client.Fault):
            self._process.terminate()  # takes a second longer: signals do not wake its loop
        try:
            self._process.wait(STOP_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill_everything(())

    def kill_everything(self, pids: Iterable[int]) -> None:
        """Kill all at once, in no order. supervisord goes first, so that it restarts nothing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
