"""Mails a second that the worker delivers into a sink, beside bare aiosmtplib on as many connections."""

import sys

from .options import Options
from .product import SMTP_CONNECTIONS, Product, output_of, running_product
from .report import Row, compare
from .sink import generator

_ENDED = "SELECT extract(epoch FROM max(ended_at))::float8 FROM attempts"
_SENT = "SELECT count(*) FROM mails WHERE state = 'sent'"


def run(options: Options) -> list[Row]:
    rounds = options.choose(options.rounds, full=5, quick=2)
    count = 2_000 if options.quick else 10_000
    product_rates: list[float] = []
    bare_rates: list[float] = []
    with running_product("delivery") as product:
        product.run_only("mail-worker")
        delivered_per_second(product, 200)
        for _ in range(rounds):
            bare_rates.append(bare_aiosmtplib(product.sink_port, count))
            product_rates.append(delivered_per_second(product, count))
    measured = f"{count:,} mails, {SMTP_CONNECTIONS} connections, {generator()}"
    return [compare("delivery", measured, product_rates, "bare aiosmtplib", bare_rates, "mails/s", at_least=0.5)]


def delivered_per_second(product: Product, count: int) -> float:
    """Measured from the commit that queues the mails to the commit of the last outcome.

    Raises:
        RuntimeError: some mails were not sent.
    """
    before = product.fetchval("mail", _SENT)
    began = product.queue_mails(count)
    product.await_value("mail", "SELECT count(*) FROM queue", 0)
    if (sent := product.fetchval("mail", _SENT) - before) != count:
        raise RuntimeError(f"{sent} of {count} mails were sent")
    ended: float = product.fetchval("mail", _ENDED)
    return count / (ended - began)


def bare_aiosmtplib(port: int, count: int) -> float:
    command = [sys.executable, "-m", "tests.benchmarks.yardsticks.bare_aiosmtplib", str(port), str(count)]
    return count / float(output_of([*command, str(SMTP_CONNECTIONS)]).split()[-1])
