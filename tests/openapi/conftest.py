"""The product, and both documents as files, for the clients that are generated from them."""

from pathlib import Path

import pytest

from tests.support.databases import ROOT
from tests.support.running import ledgers, running_stack
from tests.support.stack import Stack

from .documents import write

__all__ = ["addresses", "documents", "kept", "ledgers", "running_stack"]


@pytest.fixture(scope="session")
def kept() -> Path:
    """Where generators are installed, once; git ignores it."""
    folder = ROOT / "var" / "openapi-clients"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write(tmp_path_factory.mktemp("documents"))


@pytest.fixture
def addresses(running_stack: Stack) -> dict[str, str]:
    """As `make run` writes them into var/run.env."""
    return {
        "SIGNUP_URL": running_stack.signup_url,
        "MAIL_URL": running_stack.mail_url,
        "OPERATOR_KEY": running_stack.operator_key,
    }
