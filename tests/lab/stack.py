"""The product under test: four processes behind proxies, a PostgreSQL for each service, each on a small file system."""

import contextlib
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.stack import PROCESSES, Stack

# Grows only as it is used: most is write-ahead log.
_DISK_BYTES = 3 << 30
_FAKETIME = ("/usr/lib/*-linux-gnu/faketime", "/usr/lib/faketime", "/usr/lib64/faketime")
# Short leases and pauses, so that a fault of seconds is long: everything that waits, waits several times in a run.
SETTINGS = {
    "SIGNUP_LEASE_SECONDS": "3",
    "MAIL_TIMEOUT_SECONDS": "2",
    "MAIL_LEASE_SECONDS": "3",
    "MAIL_COMMAND_TIMEOUT_SECONDS": "5",
    "MAIL_REPLY_TIMEOUT_SECONDS": "8",
    "MAIL_RETRY_BASE_SECONDS": "1",
    "MAIL_RETRY_CAP_SECONDS": "5",
    "SIGNUP_WEBHOOK_TIMEOUT_SECONDS": "2",
    "MAIL_WEBHOOK_TIMEOUT_SECONDS": "2",
    # A client that asks again for a lost answer is owed no second mail.
    "SIGNUP_MAIL_COOLDOWN_SECONDS": "86400",
    "SIGNUP_MAILS_PER_ADDRESS_PER_DAY": "0",
    "SIGNUP_LIMIT_PER_NETWORK": "off",
    "MAIL_DNS_CHECK": "off",
}


@dataclass(frozen=True)
class Disk:
    """A file system in memory at `path`, which can be made as small as what is on it."""

    path: Path

    @classmethod
    def mount(cls, path: Path) -> "Disk | None":
        """None when this user, or this container, may not mount."""
        path.mkdir(mode=0o711, parents=True)
        done = _quietly("mount", "-t", "tmpfs", "-o", f"size={_DISK_BYTES},mode=0711", "tmpfs", str(path))
        return cls(path) if done else None

    def fill(self) -> None:
        used = shutil.disk_usage(self.path).used
        if not _quietly("mount", "-o", f"remount,size={used}", str(self.path)):
            raise OSError(f"{self.path} cannot be made smaller")

    def empty(self) -> None:
        if not _quietly("mount", "-o", f"remount,size={_DISK_BYTES}", str(self.path)):
            raise OSError(f"{self.path} cannot be made larger")

    def unmount(self) -> None:
        _quietly("umount", "-l", str(self.path))


def _quietly(*command: str) -> bool:
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def find_faketime() -> Path | None:
    for pattern in _FAKETIME:
        for found in Path("/").glob(pattern.lstrip("/") + "/libfaketimeMT.so.1"):
            return found
    return None


@dataclass
class LabStack(Stack):
    """Processes among `stepping` are started with libfaketime: with it, idle ones are slow, so the others have none."""

    clusters: dict[str, str] = field(default_factory=lambda: {"signup": "signup-postgres", "mail": "mail-postgres"})
    faketime: Path | None = field(default_factory=find_faketime)
    disks: dict[str, Disk] = field(default_factory=dict)
    stepping: set[str] = field(default_factory=set)

    def mount_disks(self) -> None:
        for name in self.clusters.values():
            if disk := Disk.mount(self.directory / name):
                self.disks[name] = disk

    def unmount_disks(self) -> None:
        for disk in self.disks.values():
            disk.unmount()

    def start(self, name: str, **settings: str) -> None:
        if name not in PROCESSES:
            return  # the lab has its own gateway
        if self.faketime and name in self.stepping:
            settings |= {
                "LD_PRELOAD": str(self.faketime),
                "FAKETIME_TIMESTAMP_FILE": str(self.directory / f"clock-{name}"),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            }
        super().start(name, **settings)

    def set_clock(self, name: str, seconds: int) -> None:
        """Step the wall clock of a process, within a second, if it was started while it is among `stepping`."""
        fresh = self.directory / f".clock-{name}"
        fresh.write_text(f"{seconds:+d}\n")
        fresh.replace(self.directory / f"clock-{name}")

    def start_again(self, name: str) -> bool:
        """Start a process, or a server if it can be started already."""
        if name in PROCESSES:
            self.start(name)
            return True
        try:
            self.start_server(name)
        except Exception:  # noqa: BLE001 - as a supervisor: whatever it is, it is tried again
            return False
        return True

    def dead(self) -> Iterable[str]:
        """The processes and servers that do not run."""
        for name, server in self._servers.items():
            if server.process.poll() is not None:
                yield name
        for name in PROCESSES:
            if not self.is_running(name):
                yield name

    def pid_of_server(self, name: str) -> int:
        return self._servers[name].pid

    def stop_all(self) -> None:
        with contextlib.suppress(AssertionError):
            super().stop_all()
