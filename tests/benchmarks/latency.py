"""Time from a signup's answer to the gateway's 250 for its mail, at a steady rate through the whole product."""

import json
import sys
from dataclasses import dataclass

from local.ports import pick_free
from tests.support.stack import PROCESSES

from .options import Options
from .product import STATE, Product, output_of, running_product
from .report import Row, over_rounds, percentile
from .sink import read_record, running_sink

P50_MS, P99_MS = 10, 30


@dataclass(frozen=True)
class Round:
    """Milliseconds. `answers`: as the client reports them."""

    waits: list[float]
    answers: dict[str, float]


def run(options: Options) -> list[Row]:
    rounds = options.choose(options.rounds, full=5, quick=1)
    rate = options.choose(options.rate, full=100.0, quick=100.0)
    seconds = round(options.choose(options.steady_seconds, full=60.0, quick=10.0))
    STATE.mkdir(parents=True, exist_ok=True)
    port = pick_free()
    with running_product("latency", sink_port=port) as product:
        found = [_round(product, f"steady{number}", seconds, rate) for number in range(rounds)]
    measured = f"answer → 250, {rate:g}/s for {seconds} s"
    return [
        over_rounds(
            "latency", f"{measured}, median", [percentile(each.waits, 50) for each in found], "ms", at_most=P50_MS
        ),
        over_rounds(
            "latency", "the same, 99th percentile", [percentile(each.waits, 99) for each in found], "ms", at_most=P99_MS
        ),
        over_rounds("latency", "request → answer, median", [each.answers["p50_ms"] for each in found], "ms"),
        over_rounds("latency", "the same, 99th percentile", [each.answers["p99_ms"] for each in found], "ms"),
    ]


def _round(product: Product, tag: str, seconds: int, rate: float) -> Round:
    """The sink's times are written when it ends, so each round has its own."""
    answered_file, accepted_file = STATE / "answered.json", STATE / "accepted.json"
    with running_sink(product.sink_port, accepted_file):
        product.run_only(*PROCESSES)
        command = [sys.executable, "-m", "tests.benchmarks.client", product.stack.signup_url]
        output_of([*command, f"warm-{tag}", "3", "--rate", str(rate)])
        output = output_of([*command, tag, str(seconds), "--rate", str(rate), "--record", str(answered_file)])
        product.await_value("signup", "SELECT count(*) FROM outbox WHERE effect = 'mail'", 0)
        product.await_value("mail", "SELECT count(*) FROM queue", 0)
        product.run_only()
    load = json.loads(output.partition("JSON ")[2])
    answered: dict[str, float] = json.loads(answered_file.read_text())
    accepted = dict(read_record(accepted_file))
    if load["errors"] or len(answered) != round(seconds * rate):
        raise RuntimeError(f"{len(answered)} of {seconds * rate:g} were answered, {load['errors']} with errors")
    answered_file.unlink()
    accepted_file.unlink()
    return Round([(accepted[email] - at) * 1000 for email, at in answered.items()], load)
