"""Secrets and other values that are created once and kept in a JSON file that only its owner can read."""

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path

OWNER_ONLY = 0o600


def write_private(path: Path, text: str) -> None:
    """Replace `path` in one step: a reader sees the old or the new file, and only the owner can read either."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def make_password() -> str:
    # Hexadecimal, so that it needs no quoting in a URL, in SQL, in a configuration file or in a shell.
    return secrets.token_hex(24)


class Vault:
    """Values by name. Each is on disk before it is returned, so a password that was used is never lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, str] = {}
        if path.exists():
            path.chmod(OWNER_ONLY)
            self._values = json.loads(path.read_text(encoding="utf-8"))

    def get(self, name: str) -> str | None:
        return self._values.get(name)

    def keep(self, name: str, value: str) -> str:
        if self._values.get(name) != value:
            self._values[name] = value
            write_private(self._path, json.dumps(self._values, indent=2) + "\n")
        return value

    def get_or_make(self, name: str, make: Callable[[], str] = make_password) -> str:
        return self._values.get(name) or self.keep(name, make())

    def occurs_in(self, text: str) -> bool:
        """Whether `text`, a URL, contains one of our generated secrets."""
        return any(len(value) >= len(make_password()) and value in text for value in self._values.values())
