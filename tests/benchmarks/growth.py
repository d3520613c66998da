"""Whether speed holds with ten million people and mails behind it: the rates of each stage, and the time of answers.

Two products, one with a short past and one with a long one, measured in turn: signups, then the relay of their mails,
then delivery. Only the measured processes run. Then the questions of clients and operators.
"""

import statistics
from contextlib import ExitStack
from dataclasses import dataclass, field

from . import answers
from .load import drive
from .options import Options
from .past import write_past
from .product import Product, running_product
from .report import Row, compare, over_rounds

STAGES = ("signup", "relay", "delivery")
FEW, MANY = 10_000, 10_000_000
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


@dataclass
class Case:
    """One number of people behind it, with the rate of each stage in each round, and milliseconds of each answer."""

    people: int
    rates: dict[str, list[float]] = field(default_factory=lambda: {stage: [] for stage in STAGES})
    answered: dict[str, answers.Answered] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.people:,} behind"


def run(options: Options) -> list[Row]:
    rounds = options.choose(options.rounds, full=5, quick=1)
    seconds = options.choose(options.seconds, full=6.0, quick=2.0)
    people = options.choose(options.people, full=MANY, quick=3 * FEW)
    cases = [Case(FEW), Case(people)]
    with ExitStack() as stack:
        products = []
        for number, case in enumerate(cases):
            product = stack.enter_context(running_product(f"growth-{number}"))
            write_past(product, case.people)
            products.append(product)
        for number in range(rounds):
            for case, product in zip(cases, products, strict=True):
                measure(product, case, f"round{number}", seconds)
        for case, product in zip(cases, products, strict=True):
            case.answered = answers.measure(product, times=5 if options.quick else 20)
    return _rows(*cases)


def measure(product: Product, case: Case, tag: str, seconds: float) -> None:
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


def _rows(few: Case, many: Case) -> list[Row]:
    rows = [over_rounds("growth", f"{stage}, {few.name}", few.rates[stage], "/s") for stage in STAGES]
    rows += [
        compare("growth", f"{s}, {many.name}", many.rates[s], few.name, few.rates[s], "/s", at_least=0.9)
        for s in STAGES
    ]
    return rows + [_answer(question, answered, few, many) for question, answered in many.answered.items()]


def _answer(question: str, answered: answers.Answered, few: Case, many: Case) -> Row:
    """The ratio is that of the medians: the first answer may read from the disk, and there are no rounds."""
    value, other = statistics.median(answered.times), statistics.median(few.answered[question].times)
    return Row(
        "growth",
        f"{question}, {many.name}",
        value,
        "ms",
        few.name,
        other,
        value / other,
        note=answered.failure,
        values=tuple(answered.times),
    )
