"""Tests of docker-compose.yml, .env.example and deploy/make-env that need no Docker engine.

`make compose-test` runs them with one.
"""

import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.mail.__main__ import SCOPES as MAIL_SCOPES
from services.signup.__main__ import SCOPES as SIGNUP_SCOPES
from shared.db import api_keys

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
PROCESSES = ("signup-api", "signup-worker", "mail-api", "mail-worker")
JOBS = ("databases", "signup-migrate", "mail-migrate", "signup-keys", "mail-keys")


def make_env(path: Path) -> dict[str, str]:
    subprocess.run(
        (sys.executable, ROOT / "deploy" / "make-env", path), check=True, capture_output=True, cwd=path.parent
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_env_example_names_every_variable_that_compose_reads() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT))
    optional = set(re.findall(r"\$\{(\w+):-", COMPOSE_TEXT))
    assert set(re.findall(r"^(\w+)=$", EXAMPLE, re.MULTILINE)) == required
    assert set(re.findall(r"^#(\w+)=", EXAMPLE, re.MULTILINE)) == optional


def test_make_env_fills_in_distinct_secrets_readable_by_the_owner_only(tmp_path: Path) -> None:
    made = make_env(tmp_path / "env")
    assert all(len(value) >= 48 for value in made.values())
    assert len(set(made.values())) == len(made)
    assert set(made) == set(re.findall(r"^(\w+)=$", EXAMPLE, re.MULTILINE))
    assert stat.S_IMODE((tmp_path / "env").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["env"]


def test_the_services_accept_the_keys_that_make_env_creates(tmp_path: Path) -> None:
    made = make_env(tmp_path / "env")
    assert api_keys.parse(made["MAIL_API_KEY"]) is not None
    assert api_keys.parse(made["OPERATOR_KEY"]) is not None


def test_make_env_changes_nothing_that_is_set(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("# mine\nVALKEY_PASSWORD=kept\nMAIL_PORT=9002\nOPERATOR_KEY=\n", encoding="utf-8")
    made = make_env(path)
    assert made["VALKEY_PASSWORD"] == "kept"
    assert made["MAIL_PORT"] == "9002"
    assert api_keys.parse(made["OPERATOR_KEY"]) is not None
    assert "POSTGRES_PASSWORD" in made
    before = path.read_text(encoding="utf-8")
    assert before.startswith("# mine\n")
    make_env(path)
    assert path.read_text(encoding="utf-8") == before


@pytest.mark.parametrize(("job", "scopes"), [("signup-keys", SIGNUP_SCOPES), ("mail-keys", MAIL_SCOPES)])
def test_the_operator_key_has_every_scope(job: str, scopes: tuple[str, ...]) -> None:
    operators = SERVICES[job]["command"][0].partition("--client operator")[2]
    assert set(re.findall(r"--scope (\S+)", operators)) == set(scopes)


def test_processes_hold_runtime_roles_only() -> None:
    for name in PROCESSES:
        environment = SERVICES[name]["environment"]
        assert not {"SIGNUP_DATABASE_URL", "MAIL_DATABASE_URL", "OPERATOR_KEY"} & environment.keys()
        assert "_owner" not in str(environment)
        assert "POSTGRES_PASSWORD" not in str(environment)


def test_some_process_waits_for_each_job() -> None:
    """`docker compose up --wait` fails on a job that has ended, unless a service depends on its end."""
    awaited = {
        dependency
        for service in SERVICES.values()
        for dependency, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_completed_successfully"
    }
    assert awaited == set(JOBS)


def test_no_process_waits_for_valkey_or_for_the_other_service() -> None:
    for name in PROCESSES:
        waits_for, seen = [name], set()
        while waits_for:
            service = waits_for.pop()
            seen.add(service)
            waits_for += SERVICES[service].get("depends_on", {})
        assert not seen & ({"valkey", "mailpit", *PROCESSES} - {name})


def test_every_container_of_our_images_is_confined() -> None:
    for name in {*PROCESSES, *JOBS} - {"databases"}:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_ports_are_published_on_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    assert all(port.startswith("127.0.0.1:") for port in ports)
