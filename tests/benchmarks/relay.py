"""Outbox rows a second into the real mail API, beside two outbox libraries that POST them one by one."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.support.databases import ROOT

from .options import Options
from .product import STATE, Product, output_of, running_product
from .report import Row, compare, over_rounds
from .signup import YARDSTICKS

# The versions behind the numbers in docs/benchmarks.md.
OTHERS = {"txoutbox": "txoutbox[postgres]==0.2.2", "faststream-outbox": "faststream-outbox[asyncpg]==0.19.0"}
CLIENT = ("httpx==0.28.1", "uvloop")
VENV = ROOT / "var" / "bench-venv"
_LAST_SETTLED = "SELECT extract(epoch FROM max(settled_at))::float8 FROM outbox_settled"
_ACCEPTED = "SELECT count(*) FROM mails WHERE request_id LIKE $1"


def run(options: Options) -> list[Row]:
    # The libraries make one POST a row: a thousand rows show their rate.
    rounds = options.choose(options.rounds, full=5, quick=1)
    count, library_count = (5_000, 300) if options.quick else (20_000, 1_000)
    product_rates: list[float] = []
    library_rates: dict[str, list[float]] = {
        name: [] for name, package in OTHERS.items() if installed(name, [package, *CLIENT])
    }
    with running_product("relay") as product:
        product.run_only("signup-worker", "mail-api")
        relayed_per_second(product, "warm", 500)
        _make_scratch_database(product)
        for number in range(rounds):
            product_rates.append(relayed_per_second(product, f"round{number}", count))
            for name, rates in library_rates.items():
                rates.append(relayed_by(name, product, f"{name}-{number}", library_count))
    rows = [
        compare("relay", f"{count:,} rows into the mail API", product_rates, name, rates, "rows/s", at_least=10)
        for name, rates in library_rates.items()
    ]
    skipped = ", ".join(sorted(OTHERS.keys() - library_rates.keys()))
    if skipped:
        note = f"skipped, cannot be installed: {skipped}"
        rows.append(over_rounds("relay", f"{count:,} rows into the mail API", product_rates, "rows/s", note=note))
    return rows


def relayed_per_second(product: Product, tag: str, count: int) -> float:
    """Measured from the commit of the rows to the commit that settles the last; includes the wake-up."""
    began = product.owe_mails(tag, count)
    product.await_value("signup", "SELECT count(*) FROM outbox", 0)
    ended: float = product.fetchval("signup", _LAST_SETTLED)
    return count / (ended - began)


def _make_scratch_database(product: Product) -> None:
    product.fetchval("postgres", "CREATE DATABASE yardsticks")


def relayed_by(name: str, product: Product, tag: str, count: int) -> float:
    """The rate of a library: its own table in the same server, the same mails, the same API and key.

    Raises:
        RuntimeError: some mails did not arrive.
    """
    requests = STATE / f"{tag}.ndjson"
    requests.write_text("".join(json.dumps(_mail(f"{tag}-{number}")) + "\n" for number in range(count)))
    script = YARDSTICKS / f"with_{name.replace('-', '_')}.py"
    database = product.superuser_url.rpartition("/")[0] + "/yardsticks"
    output = output_of(
        [str(VENV / "bin" / "python"), str(script), str(requests)],
        {
            **os.environ,
            "DATABASE_URL": database,
            "MAIL_URL": product.stack.mail_url,
            "MAIL_API_KEY": product.environment["MAIL_API_KEY"],
        },
    )
    arrived = product.fetchval("mail", _ACCEPTED, f"{tag}-%")
    if arrived != count:
        raise RuntimeError(f"{name} relayed {arrived} of {count} rows:\n{output[-1000:]}")
    requests.unlink()
    return count / float(output.split()[-1])


def _mail(request_id: str) -> dict[str, object]:
    """The request that signup's relay sends."""
    return {
        "request_id": request_id,
        "to": {"email": f"{request_id}@bench.example", "name": "Åsa Öberg"},
        "template": "verification",
        "variables": {"name": "Åsa Öberg", "link": f"https://bench.example/verify/{'x' * 64}", "expires_in_hours": 72},
        "locale": "en",
        "metadata": {"user_id": request_id},
        "tags": ["verification"],
    }


def installed(name: str, packages: Sequence[str]) -> bool:
    """Install packages into the benchmarks' own virtual environment; False when that fails."""
    python = VENV / "bin" / "python"
    mark = VENV / f".{name}"
    if mark.exists():
        return True
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    uv = Path(sys.executable).with_name("uv")
    installers = [[str(uv), "pip", "install", "--quiet", "--python", str(python)]] if uv.exists() else []
    installers.append([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
    for installer in installers:
        if subprocess.run([*installer, *packages], check=False, capture_output=True).returncode == 0:
            mark.touch()
            return True
    sys.stderr.write(f"{name} cannot be installed: it is not measured\n")
    return False
