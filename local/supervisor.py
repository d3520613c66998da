"""supervisord: its configuration, its life, and what it is asked over its unix socket.

Each program is a small shell script that exports its environment and then becomes the program. So secrets, spaces and
percent signs need only the shell's quoting, the process is the real one, and a script may be written (an API key
minted) after supervisord has started. It runs nothing by itself: the stack says what starts when.
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
# PostgreSQL's fast shutdown; its SIGTERM waits until the last client has left by itself.
STOP_SIGNALS = {"postgres": "INT"}


@dataclass(frozen=True)
class Program:
    """One process. `group` names are stopped together; `stdin` is a file it reads."""

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
    """The text of supervisord.conf: programs by group, in the order in which groups start.

    Paths are relative to the folder supervisord runs in, so none needs quoting.
    """
    socket_path = SOCKET
    if len(str(logs.parent / "supervisor" / SOCKET)) > LONGEST_SOCKET_PATH and sys.platform == "linux":
        socket_path = f"/proc/self/cwd/{SOCKET}"  # supervisord makes relative ones absolute, and then too long
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
        # supervisord that has to stop by itself stops the highest priority first
        lines += [f"[group:{group}]", f"priority={priority}", "programs=" + ",".join(names)]
        for name in names:
            lines += [
                f"[program:{name}]",
                f"command=/bin/sh {name}.sh",
                "autostart=false",
                "autorestart=true",
                "startsecs=1",
                # Its own retries wait one second longer each time, without end. Here a quick death is FATAL at once,
                # and the stack, which watches, starts it again at a pace with a ceiling.
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
            with contextlib.chdir(self._folder):  # a path of any length fits, seen from there
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
        self._connection = host, connection  # where `close` finds it
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
        """Starts supervisord, which keeps the descriptors `held` open as long as it lives. Answers come later."""
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
                start_new_session=True,  # Ctrl-C is for the launcher, which stops things in order
            )

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _ask(self, method: str, *arguments: object) -> object:
        proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_Transport(self.folder))
        try:
            with proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except (OSError, http.client.HTTPException) as error:
            raise SupervisorGoneError(str(error)) from error

    def answers(self) -> bool:
        try:
            self._ask("getState")
        except SupervisorGoneError:
            return False
        return True

    def start_group(self, group: str) -> None:
        self._ask("startProcessGroup", group, False)

    def stop_group(self, group: str) -> None:
        """Sends the stop signals; see `processes` for when they have worked."""
        self._ask("stopProcessGroup", group, False)

    def restart(self, group: str, name: str) -> None:
        with contextlib.suppress(xmlrpc.client.Fault):  # it is running again already
            self._ask("startProcess", f"{group}:{name}", False)

    def processes(self) -> list[ProcessState]:
        answer = self._ask("getAllProcessInfo")
        assert isinstance(answer, list)
        return [
            ProcessState(info["group"], info["name"], info["statename"], info["pid"], info["now"] - info["start"])
            for info in answer
        ]

    def log_size(self, name: str) -> int:
        """What a program says from now on begins at this byte of its log."""
        try:
            return (self.logs / f"{name}.log").stat().st_size
        except FileNotFoundError:
            return 0

    def last_words(self, name: str, *, since: int = 0, lines: int = 25) -> str:
        """The end of a program's log, and nothing from before byte `since`."""
        try:
            said = (self.logs / f"{name}.log").read_bytes()
        except FileNotFoundError:
            return ""
        if since <= len(said):  # else the log has been rotated
            said = said[since:]
        return "\n".join(said.decode(errors="replace").splitlines()[-lines:])

    def shut_down(self) -> None:
        """Ends supervisord itself, and with it whatever still runs."""
        if self._process is None:
            return
        try:
            self._ask("shutdown")
        except (SupervisorGoneError, xmlrpc.client.Fault):
            self._process.terminate()  # a second slower: signals do not wake its loop
        try:
            self._process.wait(STOP_WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill_everything(())

    def kill_everything(self, pids: Iterable[int]) -> None:
        """No order, no patience. supervisord goes first, so that it starts nothing again."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
