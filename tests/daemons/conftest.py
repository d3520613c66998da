"""Fixtures: the product, which takes bounces by LMTP, and a Dovecot with the bounce mailbox."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.ports import pick_free
from tests.support.running import ledgers, started
from tests.support.stack import Stack

from .dovecot import dovecot
from .programs import MissingProgramError, require_all

__all__ = ["ledgers"]

BOUNCE_DOMAIN = "bounces.example"


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    """Fail the run when a mail server is not installed."""
    try:
        require_all()
    except MissingProgramError as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def lmtp_port() -> int:
    """Where the mail API takes bounces."""
    return pick_free()


@pytest.fixture(scope="session")
def running_stack(tmp_path_factory: pytest.TempPathFactory, lmtp_port: int) -> Iterator[Stack]:
    settings = {"MAIL_BOUNCE_DOMAIN": BOUNCE_DOMAIN, "MAIL_BOUNCE_LISTEN": f"127.0.0.1:{lmtp_port}"}
    with started(Stack(tmp_path_factory.mktemp("stack"), settings)) as stack:
        yield stack


@pytest.fixture
def folder() -> Iterator[Path]:
    """For one mail server, which runs as a user of its own: pytest's folders are closed to it."""
    made = Path(tempfile.mkdtemp(prefix="counterfoil-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@dataclass(frozen=True)
class Mailbox:
    lmtp_port: int
    imaps_port: int
    ca_file: Path


@pytest.fixture(scope="session")
def mailbox() -> Iterator[Mailbox]:
    """Where mail for the bounce domain lies when it is not handed over by LMTP."""
    made = Path(tempfile.mkdtemp(prefix="counterfoil-"))
    made.chmod(0o755)
    found = Mailbox(pick_free(), pick_free(), made / "cert.pem")
    try:
        with dovecot(made, found.lmtp_port, found.imaps_port):
            yield found
    finally:
        shutil.rmtree(made)
