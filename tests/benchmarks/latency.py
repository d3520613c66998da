"""Time from a signup's answer to the gateway's 250 for its mail, at a steady rate through the whole product."""

import json
import sys

from local.ports import pick_free
from tests.support.stack import PROCESSES

from .product import STATE, output_of, running_product
from .report import Row, percentile
from .sink import running_sink

RATE = 100


def run(*, quick: bool) -> list[Row]:
    seconds = 10 if quick else 60
    STATE.mkdir(parents=True, exist_ok=True)
    answered_file, accepted_file = STATE / "answered.json", STATE / "accepted.json"
    port = pick_free()
    with running_product("latency", sink_port=port) as product:
        with running_sink(port, accepted_file):
            product.run_only(*PROCESSES)
            command = [sys.executable, "-m", "tests.benchmarks.client", product.stack.signup_url]
            output_of([*command, "warm", "3", "--rate", str(RATE)])
            output = output_of([*command, "steady", str(seconds), "--rate", str(RATE), "--record", str(answered_file)])
            product.await_value("signup", "SELECT count(*) FROM outbox WHERE effect = 'mail'", 0)
            product.await_value("mail", "SELECT count(*) FROM queue", 0)
        product.run_only()
    load = json.loads(output.partition("JSON ")[2])
    answered: dict[str, float] = json.loads(answered_file.read_text())
    accepted: dict[str, float] = json.loads(accepted_file.read_text())
    if load["errors"] or len(answered) != seconds * RATE:
        raise RuntimeError(f"{len(answered)} of {seconds * RATE} signups were answered, {load['errors']} with errors")
    waits = [(accepted[email] - at) * 1000 for email, at in answered.items()]
    answered_file.unlink()
    accepted_file.unlink()
    return [
        _row(f"answer → 250, {RATE}/s for {seconds} s, median", percentile(waits, 50), 25),
        _row("the same, 99th percentile", percentile(waits, 99), 150),
        Row("latency", "request → answer, median", load["p50_ms"], "ms"),
        Row("latency", "the same, 99th percentile", load["p99_ms"], "ms"),
    ]


def _row(measured: str, value: float, at_most: float) -> Row:
    return Row("latency", measured, value, "ms", reach=f"≤ {at_most:g} ms", met=value <= at_most)
