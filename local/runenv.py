"""run.env in the state directory (var/run.env by default): facts about the running stack for shells, tests and people.

API.md defines the names.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from .credentials import write_private

VARIABLES = (
    *("SIGNUP_URL", "MAIL_URL", "CATCHER_URL", "OPERATOR_KEY"),
    *("SIGNUP_OPERATIONS_URL", "MAIL_OPERATIONS_URL"),
    *("SIGNUP_DATABASE_URL", "MAIL_DATABASE_URL", "POSTGRES_URL", "REDIS_URL", "MAIL_GATEWAYS"),
    *("PID_SIGNUP_API", "PID_SIGNUP_WORKER", "PID_MAIL_API", "PID_MAIL_WORKER"),
    *("PID_POSTGRES", "PID_VALKEY", "PID_CATCHER"),
)


def write(path: Path, values: Mapping[str, str]) -> None:
    """Every variable is always present. It is empty for a server that is not ours (no PID, no superuser)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_private(path, "".join(f"{name}={shlex.quote(values.get(name, ''))}\n" for name in VARIABLES))


def read(path: Path) -> dict[str, str]:
    """Raises FileNotFoundError when no stack runs."""
    pairs = (line.partition("=") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}
