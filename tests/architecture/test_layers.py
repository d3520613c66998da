"""The shape of the tree, beside the import contracts in pyproject.toml."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.databases import ROOT


def _imports(folder: Path) -> set[str]:
    names: set[str] = set()
    for file in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module)
                names |= {f"{node.module}.{alias.name}" for alias in node.names}
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
    return names


def _used_by(service: str) -> set[str]:
    """Modules of shared/ that a service imports, by itself or through another one of shared/."""
    used = {name for name in _imports(ROOT / "services" / service) if name.startswith("shared.")}
    while True:
        more = set(used)
        for name in used:
            file = ROOT / (name.replace(".", "/") + ".py")
            if file.exists():
                tree = ast.parse(file.read_text())
                for node in ast.walk(tree):
                    if isinstance(node, ast.ImportFrom) and node.level == 1:
                        if node.module:
                            more.add(f"shared.{node.module}")
                        else:
                            more |= {f"shared.{alias.name}" for alias in node.names}
        if more == used:
            return used
        used = more


def test_every_module_of_shared_is_used_by_both_services() -> None:
    modules = {f"shared.{file.stem}" for file in (ROOT / "shared").glob("*.py") if file.stem != "__init__"}
    assert modules - _used_by("signup") == set()
    assert modules - _used_by("mail") == set()


@pytest.mark.parametrize("service", ["signup", "mail"])
def test_importing_a_service_connects_nowhere_and_reads_no_settings(service: str) -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise AssertionError('connected at import')\n"
        "socket.socket.connect = refuse\n"
        f"import services.{service}.app, services.{service}.worker\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={"SIGNUP_PORT": "no port", "MAIL_PORT": "no port"}, check=False
    )
    assert done.returncode == 0
