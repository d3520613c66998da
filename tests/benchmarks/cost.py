"""Processor time for each signup that is mailed, by process: at full load, at a steady rate, and of the idle product.

The load generator and the sink are not counted. PostgreSQL's time is that of the server with all its backends, for
both databases.
"""

from collections.abc import Sequence

from tests.support.stack import PROCESSES

from . import full_load, idle, steady
from .load import generator
from .options import Options
from .processes import meter_of
from .product import Product, running_product
from .report import Row, compare, over_rounds

FULL_LOAD_MS, STEADY_MS = 0.9, 2.5


def run(options: Options) -> list[Row]:
    with running_product("cost") as product:
        product.run_only(*PROCESSES)
        rows = _at_full_load(product, options) + _at_a_steady_rate(product, options)
        return rows + idle.rows(product, options)


def _at_full_load(product: Product, options: Options) -> list[Row]:
    rounds = options.choose(options.rounds, full=5, quick=1)
    seconds = options.choose(options.seconds, full=20.0, quick=3.0)
    meter = meter_of(product)
    full_load.measure(product, meter, "warm", 2)
    loads = [full_load.measure(product, meter, f"full{number}", seconds) for number in range(rounds)]
    measured = f"full load, {full_load.CONNECTIONS} connections, {generator()}"
    return [
        over_rounds("cost", f"{measured}: accepted", [load.accepted for load in loads], "/s"),
        over_rounds("cost", f"{measured}: mailed", [load.mailed for load in loads], "/s"),
        over_rounds("cost", f"{measured}: all", [load.total for load in loads], "ms", at_most=FULL_LOAD_MS),
        *by_process("cost", "full load", [load.cost for load in loads]),
    ]


def by_process(benchmark: str, measured: str, costs: Sequence[dict[str, float]], note: str = "") -> list[Row]:
    return [
        over_rounds(benchmark, f"{measured}: {name}", [cost[name] for cost in costs], "ms", note=note)
        for name in costs[0]
    ]


def _at_a_steady_rate(product: Product, options: Options) -> list[Row]:
    rate = options.choose(options.rate, full=250.0, quick=100.0)
    seconds = options.choose(options.steady_seconds, full=600.0, quick=6.0)
    window = min(60.0, seconds / 2)
    steady.warm_up(product, rate)
    samples = steady.sample_load(product, meter_of(product), rate=rate, seconds=seconds, window=window)
    found = steady.windows(product, samples)
    first, last = found[0], found[-1]
    measured, note = f"steady {rate:g}/s for {seconds:g} s", f"one run, in windows of {window:g} s"
    totals = [each.total for each in found]
    return [
        over_rounds("cost", f"{measured}: all", totals, "ms", at_most=STEADY_MS, note=note),
        compare("cost", f"{measured}: last window", [last.total], "first", [first.total], "ms", at_most=1.1, note=note),
        *by_process("cost", f"steady {rate:g}/s", [each.cost for each in found], note),
        compare("cost", f"{measured}: p50", [last.wait(50)], "first", [first.wait(50)], "ms", note=note),
        compare("cost", f"{measured}: p99", [last.wait(99)], "first", [first.wait(99)], "ms", note=note),
    ]
