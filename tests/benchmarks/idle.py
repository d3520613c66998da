"""What the product does when nobody asks for anything: transactions and processor seconds a minute, and memory."""

import time

from .options import Options
from .processes import NAMES, meter_of, servers_of
from .processor_time import resident_megabytes
from .product import Product
from .report import Row, over_rounds
from .settled import await_settled

TRANSACTIONS, PROCESSOR_SECONDS, MEGABYTES = 300, 0.3, 75
# What a start causes is over, and backends report their counts at most 10 s after they fell idle.
_SETTLED_SECONDS = 45.0
_TRANSACTIONS = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1"
DATABASES = ("signup", "mail")


def rows(product: Product, options: Options) -> list[Row]:
    """All four processes must run. The memory is that of processes which have just started."""
    seconds = options.choose(options.idle_seconds, full=300.0, quick=8.0)
    await_settled(product, 60)
    product.run_only()
    product.run_only(*NAMES)
    time.sleep(min(_SETTLED_SECONDS, seconds))
    memory = _memory_rows(product)
    meter = meter_of(product)
    transactions, before, began = _transactions(product), meter.read(), time.monotonic()
    time.sleep(seconds)
    after, minutes = meter.read(), (time.monotonic() - began) / 60
    committed = {name: (count - transactions[name]) / minutes for name, count in _transactions(product).items()}
    used = {name: (after[name] - before[name]) / minutes for name in after}
    note = f"over {seconds:g} s"
    return [
        _row("transactions a minute, both databases", sum(committed.values()), "/min", note, TRANSACTIONS),
        *(_row(f"transactions a minute, {name}", count, "/min", note) for name, count in committed.items()),
        _row("processor seconds a minute", sum(used.values()), "s/min", note, PROCESSOR_SECONDS),
        *(_row(f"processor seconds a minute, {name}", value, "s/min", note) for name, value in used.items()),
        *memory,
    ]


def _transactions(product: Product) -> dict[str, int]:
    """Asked in a third database, so that the question is not counted."""
    return {name: product.fetchval("postgres", _TRANSACTIONS, name) for name in DATABASES}


def _memory_rows(product: Product) -> list[Row]:
    note = "resident, of processes that have just started"
    rows = [
        _row(f"memory at start, {label}", _megabytes(product, name), "MB", note, MEGABYTES)
        for name, label in NAMES.items()
    ]
    valkey = servers_of(product)["Valkey"][0]
    return [*rows, _row("memory, Valkey", resident_megabytes(valkey), "MB", "")]


def _megabytes(product: Product, name: str) -> float:
    return resident_megabytes(product.stack.processes[name].pid)


def _row(measured: str, value: float, unit: str, note: str, at_most: float | None = None) -> Row:
    return over_rounds("cost", f"idle: {measured}", [value], unit, at_most=at_most, note=note)
