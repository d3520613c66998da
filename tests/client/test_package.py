"""The package stands alone: what it needs, what it carries, and what its documents show."""

import ast
import re
import subprocess
import sys
import tomllib

import counterfoil_client
from counterfoil_client import AsyncMail, AsyncSignup, Mail, Signup
from counterfoil_client.testing import FakeMailService
from tests.support.databases import ROOT

PACKAGE = ROOT / "client" / "counterfoil_client"
FILES = sorted(PACKAGE.rglob("*.py"))
DOCUMENTS = (ROOT / "client" / "README.md", ROOT / "docs" / "client.md")


def _imported(source: str) -> set[str]:
    """The packages that a file imports by name, not relatively."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add((node.module or "").partition(".")[0])
    return names


def test_it_needs_httpx_and_the_standard_library_and_pytest_only_in_the_plugin() -> None:
    for file in FILES:
        foreign = _imported(file.read_text()) - set(sys.stdlib_module_names) - {"httpx"}
        assert foreign == ({"pytest"} if file.name == "pytest_plugin.py" else set()), file
    project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    assert [re.split("[><=]", needed)[0] for needed in project["dependencies"]] == ["httpx"]
    plugin = project["entry-points"]["pytest11"]["counterfoil"]
    assert PACKAGE.parent.joinpath(*plugin.split(".")).with_suffix(".py").exists()


def test_it_is_typed_and_exports_what_it_names() -> None:
    assert (PACKAGE / "py.typed").exists()
    assert all(hasattr(counterfoil_client, name) for name in counterfoil_client.__all__)


def test_importing_it_loads_no_fake_and_no_pytest() -> None:
    code = "import sys, counterfoil_client; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(PACKAGE.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert {"pytest", "http.server", "counterfoil_client.testing"} & set(done.stdout.split()) == set()


def test_both_kinds_of_client_have_the_same_methods_and_parameters() -> None:
    for blocking, on_asyncio in ((Mail, AsyncMail), (Signup, AsyncSignup)):
        methods = {name: method for name, method in vars(blocking).items() if name[0] != "_"}
        assert methods.keys() == {name for name in vars(on_asyncio) if name[0] != "_"}
        for name, method in methods.items():
            twin = getattr(on_asyncio, name)
            assert method.__kwdefaults__ == twin.__kwdefaults__
            assert method.__code__.co_varnames[:3] == twin.__code__.co_varnames[:3]


def test_the_example_is_short_enough_to_copy() -> None:
    assert len((ROOT / "client" / "examples" / "outbox.py").read_text().splitlines()) <= 60


def test_every_python_example_of_the_documents_runs() -> None:
    examples = [
        example
        for document in DOCUMENTS
        for example in re.findall("```python\n(.*?)```", document.read_text(), re.DOTALL)
    ]
    code = f"for example in {examples!r}: exec(compile(example, example, 'exec'), {{'__name__': '__main__'}})"
    with FakeMailService() as fake:
        environment = {
            "PYTHONPATH": str(PACKAGE.parent),
            "MAIL_URL": fake.url,
            "MAIL_API_KEY": fake.api_key(),
            "WEBHOOK_SECRET": "whsec_c2VjcmV0",
        }
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert [mail.request_id for mail in fake.mails] == ["welcome:17", "invoice:0", "invoice:1", "invoice:2"]


def test_the_documents_name_nothing_that_is_not_there() -> None:
    for document in DOCUMENTS:
        for name in re.findall(r"\b(?:mail|signup)\.([a-z_]+)\(", document.read_text()):
            assert hasattr(Mail, name) or hasattr(Signup, name), f"{document.name} calls {name}"
