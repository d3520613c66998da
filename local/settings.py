"""Settings of `make run`: read once from the environment, then passed on as an argument."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent

# The variable of each port, and its default. Messages about a taken port name the variable.
PORT_DEFAULTS = {"SIGNUP_PORT": 8001, "MAIL_PORT": 8002, "CATCHER_SMTP_PORT": 1025, "CATCHER_HTTP_PORT": 8025}
# Metrics and health without a key. When one is taken that no setting names, another is picked and kept.
OPERATIONS_PORTS = {"SIGNUP_OPERATIONS_PORT": 8011, "MAIL_OPERATIONS_PORT": 8012}
HIGHEST_PORT = 65535


class LocalError(Exception):
    """An error that the user of `make run` can fix. Its message says how."""


@dataclass(frozen=True)
class Settings:
    """`environment` is that of the launching shell. The processes inherit it."""

    environment: Mapping[str, str]
    ports: Mapping[str, int]
    checkout: Path = CHECKOUT
    state: Path = CHECKOUT / "var"
    postgres_port: int | None = None
    redis_port: int | None = None
    operations_ports: Mapping[str, int | None] = field(default_factory=lambda: dict.fromkeys(OPERATIONS_PORTS))
    signup_database_url: str | None = None
    mail_database_url: str | None = None
    redis_url: str | None = None
    mail_gateways: str | None = None

    @property
    def run_env(self) -> Path:
        # In the state directory, which one stack holds: two stacks of one checkout have a file each.
        return self.state / "run.env"


def _port(environment: Mapping[str, str], variable: str, default: int | None) -> int | None:
    text = environment.get(variable, "").strip()
    if not text:
        return default
    if not text.isdecimal() or not 0 < int(text) <= HIGHEST_PORT:
        raise LocalError(f"{variable}={text} is not a port number from 1 to {HIGHEST_PORT}")
    return int(text)


def read_settings(environment: Mapping[str, str] = os.environ, checkout: Path = CHECKOUT) -> Settings:
    """Raises LocalError for invalid values."""
    ports = {name: _port(environment, name, default) or default for name, default in PORT_DEFAULTS.items()}
    operations_ports = {name: _port(environment, name, None) for name in OPERATIONS_PORTS}
    chosen = ports | {name: port for name, port in operations_ports.items() if port}
    if len(set(chosen.values())) < len(chosen):
        raise LocalError("ports must differ: " + ", ".join(f"{name}={port}" for name, port in chosen.items()))
    signup_url, mail_url = environment.get("SIGNUP_DATABASE_URL"), environment.get("MAIL_DATABASE_URL")
    if bool(signup_url) != bool(mail_url):
        raise LocalError("set both SIGNUP_DATABASE_URL and MAIL_DATABASE_URL, or neither")
    return Settings(
        environment=dict(environment),
        ports=ports,
        checkout=checkout,
        state=(checkout / Path(environment.get("STATE_DIR") or "var").expanduser()).resolve(),
        postgres_port=_port(environment, "POSTGRES_PORT", None),
        redis_port=_port(environment, "REDIS_PORT", None),
        operations_ports=operations_ports,
        signup_database_url=signup_url or None,
        mail_database_url=mail_url or None,
        redis_url=environment.get("REDIS_URL") or None,
        mail_gateways=environment.get("MAIL_GATEWAYS") or None,
    )
