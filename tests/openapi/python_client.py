"""Clients that openapi-python-client makes from both documents: no warning, every module loads, and they work.

Not named test_*: `make test` must not collect it, because it installs the generator.
"""

import os
import sys
from pathlib import Path

import pytest

from tests.support.stack import Ledgers

from .programs import run

GENERATOR = "openapi-python-client==0.29.1"
HERE = Path(__file__).parent / "python"
IMPORT_ALL = """
import importlib, pkgutil, sys
for name in sys.argv[1:]:
    for module in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        importlib.import_module(module.name)
"""


pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="session")
def python(kept: Path) -> Path:
    """An interpreter of its own with the generator, and with what generated clients import."""
    folder = kept / GENERATOR
    if not (folder / "installed").exists():
        uv = Path(sys.executable).with_name("uv")
        run(sys.executable, "-m", "venv", "--clear", folder, cwd=kept)
        run(uv, "pip", "install", "--python", folder / "bin/python", GENERATOR, cwd=kept, UV_SYSTEM_CERTS="1")
        (folder / "installed").touch()
    return folder / "bin/python"


@pytest.fixture(scope="session")
def packages(python: Path, documents: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the packages `counterfoil_signup` and `counterfoil_mail`."""
    folder = tmp_path_factory.mktemp("python")
    path = f"{python.parent}:{os.environ['PATH']}"  # the generator formats its code with the ruff beside it
    for service, document in documents.items():
        generate: list[str | Path] = [python.with_name("openapi-python-client"), "generate", "--path", document]
        options: list[str | Path] = [
            "--config",
            HERE / "openapi-python-client.yaml",
            "--meta",
            "none",
            "--fail-on-warning",
        ]
        run(*generate, *options, "--output-path", f"counterfoil_{service}", cwd=folder, PATH=path)
    return folder


def test_every_generated_module_loads(python: Path, packages: Path) -> None:
    run(python, "-W", "error", "-c", IMPORT_ALL, "counterfoil_signup", "counterfoil_mail", cwd=packages)


def test_the_story_has_the_types_of_the_generated_clients(packages: Path) -> None:
    run(
        *(sys.executable, "-m", "mypy", "--config-file", os.devnull, "--cache-dir", packages / ".mypy_cache"),
        *("--strict", "--follow-imports", "silent", HERE / "story.py"),
        cwd=packages,
        MYPYPATH=str(packages),
    )


async def test_the_story_runs(ledgers: Ledgers, addresses: dict[str, str], python: Path, packages: Path) -> None:
    run(python, HERE / "story.py", cwd=packages, PYTHONPATH=str(packages), **addresses)
    assert len(await ledgers.caught("python@example.org")) >= 1
