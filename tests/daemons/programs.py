"""Where the mail servers are, and how they are started."""

import contextlib
import grp
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from local.process import dies_with_parent

PATIENCE_SECONDS = 30.0
INSTALL = (
    "On Debian, as root: apt-get install postfix dovecot-imapd dovecot-lmtpd. Exim's package excludes Postfix's, so: "
    "apt-get download exim4-daemon-light && dpkg -x exim4-daemon-light_*.deb FOLDER && apt-get install libidn12 && "
    "useradd --system Debian-exim, and set EXIM=FOLDER/usr/sbin/exim4"
)


class MissingProgramError(Exception):
    """A mail server is not installed, or cannot run here."""


def find(program: str) -> str:
    """The path of `postfix`, `dovecot` or `exim4`, or of the program that a variable like EXIM names."""
    wanted = os.environ.get(program.rstrip("4").upper(), program)
    # Not on the PATH of every shell.
    found = shutil.which(wanted, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise MissingProgramError(f"{wanted} is not installed. {INSTALL}")
    return found


def require_all() -> None:
    """Raises MissingProgramError."""
    if os.getuid() != 0:
        raise MissingProgramError(
            "Postfix runs only as root: run `make daemon-test` as root, for example in a container"
        )
    for program in ("postfix", "dovecot", "exim4"):
        find(program)
    for user in ("postfix", "dovecot", "dovenull", "Debian-exim"):
        try:
            pwd.getpwnam(user)
        except KeyError:
            raise MissingProgramError(f"there is no user {user}. {INSTALL}") from None
    if shutil.which("openssl") is None:
        raise MissingProgramError("openssl makes Dovecot's certificate: apt-get install openssl")


def owned_by(user: str, folder: Path) -> Path:
    """A folder, made now, that belongs to `user`."""
    folder.mkdir()
    entry = pwd.getpwnam(user)
    os.chown(folder, entry.pw_uid, entry.pw_gid)
    return folder


def group_of(user: str) -> str:
    return grp.getgrgid(pwd.getpwnam(user).pw_gid).gr_name


@contextlib.contextmanager
def running(command: Sequence[str], log: Path, *ports: int) -> Iterator[None]:
    """The server for the length of the block, which begins when all ports are open."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*dies_with_parent("TERM"), *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        for port in ports:
            _await_open(port, process, log)
        yield
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def _await_open(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} does not listen on {port}:\n{log.read_text()}") from None
            time.sleep(0.05)
        else:
            return
