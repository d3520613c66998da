"""The documents agree with the code."""

import importlib.util
from types import ModuleType

from tests.support.databases import ROOT


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
