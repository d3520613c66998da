"""One, two and four processes of each kind at full load: what is accepted and mailed a second, and at what cost.

Each signup API has a load generator of its own; together they keep the same number of connections busy. On a machine
with fewer processors than processes, more of them cannot mean more signups.
"""

import os
from concurrent.futures import ThreadPoolExecutor

from . import full_load
from .cost import by_process
from .fleet import Fleet, running_fleet
from .load import Load, drive
from .options import Options
from .product import Product, running_product
from .report import Row, over_rounds

SIZES = (1, 2, 4)


def run(options: Options) -> list[Row]:
    rounds = options.choose(options.rounds, full=5, quick=1)
    seconds = options.choose(options.seconds, full=15.0, quick=2.0)
    found: dict[int, list[full_load.FullLoad]] = {size: [] for size in (SIZES[:2] if options.quick else SIZES)}
    with running_product("scale") as product:
        for number in range(rounds):
            for size, loads in found.items():
                with running_fleet(product, size) as fleet:
                    _measure(product, fleet, f"warm{number}-{size}", 1)
                    loads.append(_measure(product, fleet, f"round{number}-{size}", seconds))
    return [row for size, loads in found.items() for row in _rows(size, loads)]


def _measure(product: Product, fleet: Fleet, tag: str, seconds: float) -> full_load.FullLoad:
    return full_load.measure_load(product, fleet.meter(product), lambda: _drive_all(fleet, tag, seconds))


def _drive_all(fleet: Fleet, tag: str, seconds: float) -> Load:
    urls = fleet.signup_urls
    connections = full_load.CONNECTIONS // len(urls)
    with ThreadPoolExecutor(len(urls)) as threads:
        loads = list(threads.map(lambda n: drive(urls[n], f"{tag}-{n}", seconds, connections), range(len(urls))))
    return combine(loads)


def combine(loads: list[Load]) -> Load:
    """Of generators that ran side by side; the waits are the worst generator's."""
    return Load(
        sum(load.requests for load in loads),
        max(load.seconds for load in loads),
        sum(load.errors for load in loads),
        max(load.p50_ms for load in loads),
        max(load.p99_ms for load in loads),
    )


def _rows(size: int, loads: list[full_load.FullLoad]) -> list[Row]:
    each = f"{size} of each kind"
    note = f"{os.cpu_count()} processors; rounds: {len(loads)}"
    return [
        over_rounds("scale", f"{each}: accepted", [load.accepted for load in loads], "/s", note=note),
        over_rounds("scale", f"{each}: mailed", [load.mailed for load in loads], "/s", note=note),
        over_rounds("scale", f"{each}: cost, all", [load.total for load in loads], "ms", note=note),
        *by_process("scale", f"{each}: cost", [load.cost for load in loads]),
    ]
