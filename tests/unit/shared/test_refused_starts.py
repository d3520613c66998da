"""A process that cannot start says why in one line of its own, without a traceback: which file and line, or setting."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from local.ports import pick_free
from tests.support.databases import ROOT

TEMPLATES = "services/mail/intake/templates"
PAGES = "services/signup/http/pages"
SECRET = "swordfish"


def start(
    service: str, process: str, environment: Mapping[str, str] = MappingProxyType({}), *, checkout: Path = ROOT
) -> str:
    """The only line that a start prints before it ends with status 2. No database is needed to refuse."""
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}", process],
        cwd=checkout,
        env={
            "PATH": os.environ["PATH"],
            f"{service.upper()}_DATABASE_URL": f"postgresql://ada:{SECRET}@127.0.0.1:1/x",
            f"{service.upper()}_PORT": str(pick_free()),
            "SIGNUP_TOKEN_KEYS": "a-secret-of-at-least-thirty-two-bytes",
            "MAIL_API_KEY": "cf_key",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stdout == ""
    assert SECRET not in done.stderr
    (line,) = done.stderr.splitlines()
    return line.removeprefix(f"{service} cannot start: ")


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the code, to make typos in."""
    folder = tmp_path_factory.mktemp("checkout")
    for package in ("services", "shared"):
        # Other processes write bytecode meanwhile: under such a name first.
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("*.pyc.*"))
    return folder


@pytest.mark.parametrize("process", ["api", "worker"])
def test_a_template_with_a_typo_is_named_with_its_line(checkout: Path, process: str) -> None:
    file = checkout / TEMPLATES / "welcome" / "en" / "text.txt"
    before = file.read_text()
    file.write_text("Hello {{ name }},\n\n{% if name %}\nyour account is ready.\n{% edif %}\n")
    try:
        message = start("mail", process, checkout=checkout)
    finally:
        file.write_text(before)
    assert message.startswith(f"{TEMPLATES}/welcome/en/text.txt, line 5: ")
    assert "unknown tag 'edif'" in message


@pytest.mark.parametrize("process", ["api", "worker"])
def test_a_template_of_the_operator_with_a_fault_is_named_with_its_line(tmp_path: Path, process: str) -> None:
    (tmp_path / "layout.html").write_text("<html>\n<body>\n<p>\n</body>\n</html>\n")
    message = start("mail", process, {"MAIL_TEMPLATES": str(tmp_path)})
    assert message == (f"{tmp_path}/layout.html, line 3: the HTML is not well-formed: <p> is not closed before </body>")


@pytest.mark.parametrize("process", ["api", "worker"])
def test_a_folder_of_templates_that_does_not_exist_is_named_with_its_setting(tmp_path: Path, process: str) -> None:
    (tmp_path / "file").touch()
    for folder, why in ((tmp_path / "none", "No such file or directory"), (tmp_path / "file", "Not a directory")):
        message = start("mail", process, {"MAIL_TEMPLATES": str(folder)})
        assert message == f"MAIL_TEMPLATES={folder} must be a folder that this process can read: {why}"


def test_a_page_with_a_typo_is_named_with_its_line(checkout: Path) -> None:
    file = checkout / PAGES / "confirm.html"
    before = file.read_text()
    file.write_text('{% extends "layout.html" %}\n{% block content %}\n{{ nmae }}\n{% endblock %}\n')
    try:
        message = start("signup", "api", checkout=checkout)
    finally:
        file.write_text(before)
    assert message == f"{PAGES}/confirm.html, line 3: the page cannot be rendered: 'nmae' is undefined"


def test_a_language_without_one_of_the_texts_is_named(checkout: Path) -> None:
    file = checkout / PAGES / "ar.toml"
    before = file.read_text()
    file.write_text(before.replace("note = ", "# "))
    try:
        message = start("signup", "api", checkout=checkout)
    finally:
        file.write_text(before)
    assert message == f"{PAGES}/ar.toml: note of [confirm] is missing; en.toml has it"


@pytest.mark.parametrize("service", ["signup", "mail"])
def test_a_taken_port_is_named_with_its_setting(service: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = start(service, "api", {f"{service.upper()}_PORT": str(port)})
    assert message.startswith(f"{service.upper()}_PORT={port} cannot be opened at {service.upper()}_HOST=127.0.0.1: ")


@pytest.mark.parametrize(
    ("service", "variable", "value"),
    [
        ("signup", "SIGNUP_DATABASE_URL", f"mysql://ada:{SECRET}@127.0.0.1/x"),
        ("signup", "SIGNUP_RUNTIME_DATABASE_URL", SECRET),
        ("signup", "REDIS_URL", f"redis://:{SECRET}@127.0.0.1:1/first"),
        ("signup", "MAIL_URL", f"http://ada:{SECRET}:80:81/"),
        ("signup", "SIGNUP_PUBLIC_URL", "signup.example"),
        ("signup", "MAIL_API_KEY", f"{SECRET}ü"),
        ("mail", "MAIL_DATABASE_URL", f"mysql://ada:{SECRET}@127.0.0.1/x"),
        ("mail", "MAIL_RUNTIME_DATABASE_URL", SECRET),
        ("mail", "REDIS_URL", f"redis://:{SECRET}@127.0.0.1:1/first"),
    ],
)
def test_a_setting_that_no_process_can_work_with_is_named(service: str, variable: str, value: str) -> None:
    assert start(service, "worker", {variable: value}).startswith(f"{variable}: ")


@pytest.mark.parametrize("service", ["signup", "mail"])
def test_a_service_without_a_database_names_both_settings_that_can_name_it(service: str) -> None:
    prefix = service.upper()
    message = start(service, "worker", {f"{prefix}_DATABASE_URL": ""})
    assert message == f"{prefix}_DATABASE_URL or {prefix}_RUNTIME_DATABASE_URL must be set"
