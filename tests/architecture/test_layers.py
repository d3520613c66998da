"""Rules of the source tree that the import contracts in pyproject.toml cannot express."""

import ast
import subprocess
import sys

import pytest

from tests.support.databases import ROOT


def _imports(module: str) -> set[str]:
    """The modules that `module` imports, as dotted names. `from a import b` counts as both `a` and `a.b`."""
    file = ROOT / (module.replace(".", "/") + ".py")
    file = file if file.exists() else ROOT / module.replace(".", "/") / "__init__.py"
    if not file.exists():
        return set()
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom):
            parent = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*parent, *([node.module] if node.module else [])])
            names |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def _modules(folder: str) -> set[str]:
    files = (ROOT / folder).rglob("*.py")
    return {".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for file in files}


def _used_by(service: str) -> set[str]:
    """Modules of shared/ that a service imports, directly or through shared/."""
    used: set[str] = set()
    pending = {name for module in _modules(f"services/{service}") for name in _imports(module)}
    while pending:
        name = pending.pop()
        if name.startswith("shared") and name not in used:
            used.add(name)
            pending |= _imports(name)
    return used


def test_every_module_of_shared_is_used_by_both_services() -> None:
    modules = _modules("shared")
    wings = {module for module in modules if module.count(".") < 2}
    assert modules - wings - _used_by("signup") == set()
    assert modules - wings - _used_by("mail") == set()


def test_every_wing_of_shared_says_what_lives_there() -> None:
    wings = [folder for folder in (ROOT / "shared").iterdir() if folder.is_dir() and folder.name != "__pycache__"]
    for wing in wings:
        docstring = ast.get_docstring(ast.parse((wing / "__init__.py").read_text())) or ""
        assert "must not" in docstring, f"{wing.name}/__init__.py must say what lives there and what must not"


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
