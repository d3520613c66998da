"""The product beside what people build instead, in turn: mails a second and processor time for each signup mailed.

Same load, same sink, same PostgreSQL and Valkey with the same settings; only one of them runs at a time. The usual way
is measured with arq's default of 10 jobs at once and with 100, which also makes arq read more jobs in each poll.
"""

from tests.support.stack import PROCESSES

from . import full_load
from .cost import by_process
from .load import generator
from .options import Options
from .processes import meter_of
from .product import Product, running_product
from .report import Row, compare, over_rounds
from .usual import DEFAULT_MAX_JOBS, RAISED_MAX_JOBS, make_database, measure_usual, running_usual

AT_LEAST = 9
_OURS = "this product"


def run(options: Options) -> list[Row]:
    rounds = options.choose(options.rounds, full=5, quick=1)
    seconds = options.choose(options.seconds, full=10.0, quick=2.0)
    usual = {f"usual way, {jobs} jobs": jobs for jobs in (DEFAULT_MAX_JOBS, RAISED_MAX_JOBS)}
    found: dict[str, list[full_load.FullLoad]] = {name: [] for name in (_OURS, *usual)}
    with running_product("alternative") as product:
        make_database(product)
        for number in range(rounds):
            found[_OURS].append(_ours(product, f"ours{number}", seconds))
            for name, jobs in usual.items():
                found[name].append(_usual(product, f"usual{number}-{jobs}", jobs, seconds))
    return _rows(found, f"{full_load.CONNECTIONS} connections, {generator()}")


def _ours(product: Product, tag: str, seconds: float) -> full_load.FullLoad:
    product.run_only(*PROCESSES)
    meter = meter_of(product)
    full_load.measure(product, meter, f"warm-{tag}", 1)
    measured = full_load.measure(product, meter, tag, seconds)
    product.run_only()
    return measured


def _usual(product: Product, tag: str, jobs: int, seconds: float) -> full_load.FullLoad:
    with running_usual(product, jobs) as usual:
        measure_usual(usual, f"warm-{tag}", 1)
        return measure_usual(usual, tag, seconds)


def _rows(found: dict[str, list[full_load.FullLoad]], circumstances: str) -> list[Row]:
    rows: list[Row] = []
    mailed = {name: [load.mailed for load in loads] for name, loads in found.items()}
    # The inverse of a cost is a rate: so a ratio above 1 is in our favour in both comparisons.
    per_processor = {name: [1000 / load.total for load in loads] for name, loads in found.items()}
    for name in list(found)[1:]:
        rows += [
            compare("alternative", f"mailed, {circumstances}", mailed[_OURS], name, mailed[name], "/s"),
            compare(
                "alternative", "mailed for each processor second", per_processor[_OURS], name, per_processor[name],
                "/s", at_least=AT_LEAST,
            ),
        ]  # fmt: skip
    for name, loads in found.items():
        rows += [
            over_rounds("alternative", f"{name}: accepted", [load.accepted for load in loads], "/s"),
            over_rounds("alternative", f"{name}, cost: all", [load.total for load in loads], "ms"),
            *by_process("alternative", f"{name}, cost", [load.cost for load in loads]),
        ]
    return rows
