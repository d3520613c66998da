"""Tests of docker-compose.yml, .env.example and deploy/make-env that need no Docker engine.

`make compose-test` runs them with one.
"""

import importlib.util
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.mail.command_line import SCOPES as MAIL_SCOPES
from services.mail.settings import Settings as MailSettings
from services.signup.command_line import SCOPES as SIGNUP_SCOPES
from services.signup.settings import Settings as SignupSettings
from shared.db import api_keys

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
EXAMPLE = (ROOT / ".env.example").read_text(encoding="utf-8")
OF_SERVICE = {
    "signup": {name.upper() for name in SignupSettings.model_fields},
    "mail": {name.upper() for name in MailSettings.model_fields},
}
# For migrations only.
OWNER_URLS = {"SIGNUP_DATABASE_URL", "MAIL_DATABASE_URL"}
# What connects the containers. SIGNUP_HOST, SIGNUP_PORT and so on say where the container's port is published.
CONNECTIONS = {
    *("REDIS_URL", "MAIL_URL", "SIGNUP_RUNTIME_DATABASE_URL", "MAIL_RUNTIME_DATABASE_URL"),
    *(f"{service}_{name}" for service in ("SIGNUP", "MAIL") for name in ("HOST", "PORT")),
    *(f"{service}_OPERATIONS_{name}" for service in ("SIGNUP", "MAIL") for name in ("HOST", "PORT")),
}
PROCESSES = ("signup-api", "signup-worker", "mail-api", "mail-worker")
JOBS = ("databases", "signup-migrate", "mail-migrate", "signup-keys", "mail-keys")


def environment_of(process: str) -> dict[str, str | None]:
    """As docker-compose.yml writes it: None for what .env gives, if it does."""
    environment: dict[str, str | None] = SERVICES[process]["environment"]
    return environment


def has_compose() -> bool:
    return (
        shutil.which("docker") is not None
        and not subprocess.run(("docker", "compose", "version"), check=False, capture_output=True).returncode
    )


def make_env(path: Path) -> dict[str, str]:
    subprocess.run(
        (sys.executable, ROOT / "deploy" / "make-env", path), check=True, capture_output=True, cwd=path.parent
    )
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_env_example_names_every_secret_and_only_variables_that_compose_reads() -> None:
    required = set(re.findall(r"\$\{(\w+):\?", COMPOSE_TEXT))
    with_default = set(re.findall(r"\$\{(\w+):-", COMPOSE_TEXT))
    passed_on = {name for process in PROCESSES for name, value in environment_of(process).items() if value is None}
    assert set(re.findall(r"^(\w+)=$", EXAMPLE, re.MULTILINE)) == required
    usual = set(re.findall(r"^#(\w+)=", EXAMPLE, re.MULTILINE))
    assert with_default <= usual <= with_default | passed_on


@pytest.mark.parametrize("process", PROCESSES)
def test_every_setting_of_env_reaches_the_processes_of_its_service(process: str) -> None:
    """`docker compose config` shows the same with a real Compose, below."""
    environment = environment_of(process)
    settings = OF_SERVICE[process.partition("-")[0]]
    for setting in settings - OWNER_URLS - CONNECTIONS:
        assert setting in environment, f"{setting}: run `make docs`"
        value = environment[setting]
        assert value is None or value.startswith(f"${{{setting}:"), setting


@pytest.mark.parametrize("process", PROCESSES)
def test_a_process_gets_no_setting_of_the_other_service_and_no_url_of_an_owner(process: str) -> None:
    service = process.partition("-")[0]
    others = {name for other, names in OF_SERVICE.items() if other != service for name in names}
    forbidden = (others - OF_SERVICE[service]) | OWNER_URLS
    assert not forbidden & environment_of(process).keys()


def test_the_settings_in_docker_compose_are_those_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("docs_render", ROOT / "docs" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    assert render.compose(COMPOSE_TEXT) == COMPOSE_TEXT, "run `make docs`"


def test_every_variable_of_the_tracing_sdk_that_the_runbook_names_reaches_every_process() -> None:
    section = (
        (ROOT / "docs" / "operating.md").read_text(encoding="utf-8").partition("## Traces")[2].partition("\n## ")[0]
    )
    named = set(re.findall(r"\bOTEL_\w+", section))
    named |= {f"OTEL_EXPORTER_OTLP{suffix}" for suffix in re.findall(r"`(_[A-Z]+)`", section)}
    assert len(named) > 5
    for process in PROCESSES:
        assert named <= environment_of(process).keys()


@pytest.mark.skipif(not has_compose(), reason="needs the Compose plugin of Docker, but no engine")
def test_compose_itself_hands_each_setting_of_env_to_its_service_only(tmp_path: Path) -> None:
    path = tmp_path / "env"
    make_env(path)
    values = {name: f"{name} $HOME #1" for names in OF_SERVICE.values() for name in names}
    values |= {"SIGNUP_HOST": "127.0.0.2", "MAIL_HOST": "127.0.0.3", "SIGNUP_PORT": "9001", "MAIL_PORT": "9002"}
    with path.open("a", encoding="utf-8") as file:
        for name, value in values.items():
            file.write(f"{name}='{value}'\n")
    done = subprocess.run(
        ("docker", "compose", "--file", ROOT / "docker-compose.yml", "--env-file", path, "config", "--format=json"),
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "DOCKER_CONFIG": os.environ.get("DOCKER_CONFIG", "")},
        check=True,
        capture_output=True,
        text=True,
    )
    services = json.loads(done.stdout)["services"]
    for process in PROCESSES:
        # `config` writes each dollar sign twice.
        got = {name: value.replace("$$", "$") for name, value in services[process]["environment"].items() if value}
        for setting in OF_SERVICE[process.partition("-")[0]] - OWNER_URLS - CONNECTIONS:
            assert got[setting] == values[setting]
        assert not OWNER_URLS & got.keys()
    assert [(port["host_ip"], port["published"]) for port in services["mail-api"]["ports"]] == [("127.0.0.3", "9002")]


def test_make_env_names_each_line_that_compose_does_not_read(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.write_text("MAIL_CHEK_SEVERITY=x\nMAIL_CHECK_SEVERITY=y\nREDIS_URL=z\nCOMPOSE_PROFILES=p\n# NOTE=1\n")
    done = subprocess.run(
        (sys.executable, ROOT / "deploy" / "make-env", path), check=True, capture_output=True, text=True
    )
    assert [line.split()[1] for line in done.stderr.splitlines()] == ["MAIL_CHEK_SEVERITY", "REDIS_URL"]


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


def test_operations_ports_are_not_published() -> None:
    for api in ("signup-api", "mail-api"):
        operations = SERVICES[api]["environment"][f"{api.partition('-')[0].upper()}_OPERATIONS_PORT"]
        published = [port.rpartition(":")[2] for port in SERVICES[api]["ports"]]
        assert published
        assert operations not in published


def test_ports_are_published_on_this_machine_only() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 3
    # Unless SIGNUP_HOST or MAIL_HOST says otherwise.
    assert all(re.match(r"(127\.0\.0\.1|\$\{\w+_HOST:-127\.0\.0\.1\}):", port) for port in ports)
