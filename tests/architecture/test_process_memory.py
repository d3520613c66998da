"""Each process imports only what it uses, and therefore starts in little memory."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.databases import ROOT
from tests.support.running import open_ledgers, started
from tests.support.stack import PROCESSES, Ledgers, Stack, eventually

MAX_MEGABYTES = 75

# SQLAlchemy is for lists; `limits` and redis for a limit or a health check; the SDK of OpenTelemetry for tracing; texts
# and examples for the OpenAPI document.
UNUSED_BY_APIS = (
    "arq",
    "sqlalchemy",
    "redis",
    "limits",
    "opentelemetry.sdk",
    "google.protobuf",
    "shared.http.document",
    "rich.console",
)
UNUSED_BY_WORKERS = (
    "fastapi",
    "starlette",
    "uvicorn",
    "sqlalchemy",
    "limits",
    "opentelemetry",
    "google.protobuf",
    "rich.console",
)


@pytest.mark.parametrize(
    ("service", "root", "unused"),
    [
        ("signup", "app", UNUSED_BY_APIS),
        ("signup", "worker", (*UNUSED_BY_WORKERS, "jinja2")),
        ("mail", "app", (*UNUSED_BY_APIS, "httpx", "httpcore", "cryptography", "aiosmtplib", "aiosmtpd", "imaplib")),
        ("mail", "worker", (*UNUSED_BY_WORKERS, "httpx", "aiosmtpd", "imaplib")),
    ],
)
def test_a_process_does_not_import_what_it_does_not_use(service: str, root: str, unused: tuple[str, ...]) -> None:
    # As `python -m services.…` begins; with --help it ends before it would connect.
    code = f"""
import runpy, sys
sys.argv = ["services.{service}", "--help"]
try:
    runpy.run_module("services.{service}", run_name="__main__", alter_sys=True)
except SystemExit:
    import services.{service}.{root}
    print("loaded:", *sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert set(unused) & set(done.stdout.partition("loaded:")[2].split()) == set()
    assert f"services.{service}.{root}" in done.stdout


@pytest.fixture(scope="module")
def idle_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(Stack(tmp_path_factory.mktemp("idle_stack"))) as stack:
        yield stack


@pytest.fixture
async def idle_ledgers(idle_stack: Stack) -> AsyncIterator[Ledgers]:
    async with open_ledgers(idle_stack) as ledgers:
        yield ledgers


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_every_process_is_small_when_all_its_loops_have_run(idle_ledgers: Ledgers) -> None:
    for service in ("signup", "mail"):
        first = await _beat_after(None, idle_ledgers, service)
        await _beat_after(first, idle_ledgers, service)
    used = {name: _resident_megabytes(idle_ledgers.stack.processes[name].pid) for name in PROCESSES}
    assert {name: size for name, size in used.items() if size > MAX_MEGABYTES} == {}


async def _beat_after(earlier: datetime | None, ledgers: Ledgers, service: str) -> datetime:
    """The time of the worker's next heartbeat."""
    query = "SELECT max(at) FROM heartbeats WHERE $1::timestamptz IS NULL OR at > $1"
    beat: datetime = await eventually(
        lambda: ledgers.fetchval(service, query, earlier), bool, what=f"a heartbeat of the {service} worker"
    )
    return beat


def _resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6
