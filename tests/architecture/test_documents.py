"""The documents agree with the code."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from types import ModuleType

import pytest

import services.mail.command_line
import services.signup.command_line
from tests.support.databases import ROOT

PARSERS = {"signup": services.signup.command_line.parser, "mail": services.mail.command_line.parser}
PLACEHOLDERS = dict.fromkeys(("ROW_ID", "IMPORT_ID"), "0198f0a2-0000-7000-8000-000000000000")
PLACEHOLDERS |= {"SINCE": "2026-11-01T00:00:00Z"}


def _render() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_render", ROOT / "docs" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_state_diagrams_match_the_code() -> None:
    assert (ROOT / "docs" / "states.md").read_text() == _render().states(), "run `make docs`"


def test_the_table_of_smtp_outcomes_is_the_tested_one() -> None:
    assert (ROOT / "docs" / "smtp-outcomes.md").read_text() == _render().smtp_outcomes(), "run `make docs`"


def test_the_settings_page_matches_the_code() -> None:
    assert (ROOT / "docs" / "settings.md").read_text() == _render().settings(), "run `make docs`"


def test_the_architecture_diagram_matches_the_imports() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert page == _render().architecture(page), "run `make docs`"


def test_the_api_page_matches_the_openapi_documents() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == _render().api(), "run `make docs`"


def test_the_list_of_decisions_is_current() -> None:
    assert (ROOT / "docs" / "decisions" / "README.md").read_text() == _render().decisions(), "run `make docs`"


def test_llms_txt_is_current() -> None:
    assert (ROOT / "llms.txt").read_text() == _render().llms(), "run `make docs`"


def test_make_help_explains_every_target() -> None:
    lines = (ROOT / "Makefile").read_text().splitlines()
    targets = {line.split(":")[0] for line in lines if line[:1].islower() and ":" in line and ":=" not in line}
    documented = {line.split(":")[0] for line in lines if ":" in line and "## " in line}
    assert targets - documented == set()


def test_every_file_that_the_documents_name_exists() -> None:
    for document in (ROOT / "docs").rglob("*.md"):
        for word in document.read_text().replace("`", " ").replace(",", " ").split():
            path = word.strip("().:;")
            if path.startswith(("services/", "shared/", "tests/", "local/", "migrations/")):
                assert (ROOT / path).exists(), f"{document.name} names {path}"


def _commands() -> Iterator[tuple[str, str, str]]:
    """Every `python -m services.X …` in a block of a page, as page, service and arguments."""
    for page in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")):
        for block in re.findall(r"^ *```\w*\n(.*?)^ *```$", page.read_text(), re.MULTILINE | re.DOTALL):
            lines = block.replace("\\\n", " ")
            for service, arguments in re.findall(r"python -m services\.(signup|mail) ([a-z][^\n|<>)]+)", lines):
                yield str(page.relative_to(ROOT)), service, arguments


@pytest.mark.parametrize(
    ("service", "arguments"),
    [pytest.param(*command, id=f"{page}: {' '.join(command)}") for page, *command in _commands()],
)
def test_every_command_of_a_page_is_one_that_the_service_takes(service: str, arguments: str) -> None:
    for placeholder, value in PLACEHOLDERS.items():
        arguments = arguments.replace(placeholder, value)
    PARSERS[service]().parse_args(shlex.split(arguments, comments=True))


def test_commands_are_found_on_more_than_one_page() -> None:
    assert {"docs/console.md", "docs/operating.md", "docs/how-to.md"} <= {page for page, *_ in _commands()}
