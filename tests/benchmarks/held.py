"""A transaction left open in both databases for ten minutes at 500 signups a second: last minute against first."""

from collections.abc import Callable
from contextlib import ExitStack

from tests.support.stack import PROCESSES

from . import steady
from .cost import by_process
from .options import Options
from .processes import meter_of
from .product import running_product
from .report import Row, compare, over_rounds
from .snapshot import held_snapshot


def run(options: Options) -> list[Row]:
    rate = options.choose(options.rate, full=500.0, quick=100.0)
    seconds = options.choose(options.steady_seconds, full=600.0, quick=8.0)
    window = min(60.0, seconds / 2)
    with running_product("held") as product:
        product.run_only(*PROCESSES)
        steady.warm_up(product, rate)
        with ExitStack() as held:
            for service in ("signup", "mail"):
                held.enter_context(held_snapshot(product.url(service)))
            samples = steady.sample_load(product, meter_of(product), rate=rate, seconds=seconds, window=window)
        found = steady.windows(product, samples)
    return _rows(found, f"{rate:g}/s for {seconds:g} s", f"one run, in windows of {window:g} s")


def _rows(found: list[steady.Window], measured: str, note: str) -> list[Row]:
    def beside_first(what: str, value: Callable[[steady.Window], float], unit: str, **reach: float) -> Row:
        last, first = [value(found[-1])], [value(found[0])]
        return compare("held", f"{what}, last window", last, "first", first, unit, note=note, **reach)

    return [
        beside_first(f"{measured}: accepted", lambda window: window.accepted, "/s", at_least=0.9),
        beside_first(f"{measured}: mailed", lambda window: window.mailed, "/s", at_least=0.9),
        beside_first(f"{measured}: cost, all", lambda window: window.total, "ms", at_most=1.1),
        beside_first("accept → sent, median", lambda window: window.wait(50), "ms", at_most=1.1),
        beside_first("accept → sent, 99th percentile", lambda window: window.wait(99), "ms"),
        over_rounds("held", "mailed, each window", [each.mailed for each in found], "/s", note=note),
        over_rounds("held", "cost, each window", [each.total for each in found], "ms", note=note),
        *by_process("held", "cost", [each.cost for each in found], note),
    ]
