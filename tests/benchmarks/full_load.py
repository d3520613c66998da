"""One round at full load: signups as fast as they are accepted, measured until the last of them is mailed."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from .load import Load, drive
from .processor_time import Meter, per_unit
from .product import Product
from .settled import await_settled, mailed_since

CONNECTIONS = 16
# Delivery may be that much slower than the signups.
_PATIENCE_SECONDS = 900.0


@dataclass(frozen=True)
class FullLoad:
    """Rates a second, and processor milliseconds for each signup mailed, by process."""

    accepted: float
    mailed: float
    cost: dict[str, float]

    @property
    def total(self) -> float:
        return sum(self.cost.values())


def measure(product: Product, meter: Meter, tag: str, seconds: float) -> FullLoad:
    return measure_load(product, meter, lambda: drive(product.stack.signup_url, tag, seconds, CONNECTIONS))


def measure_load(product: Product, meter: Meter, load: Callable[[], Load]) -> FullLoad:
    """The processor time runs on until both books are complete; the rate counts from the first signup to the last 250.

    Raises:
        RuntimeError: fewer mails were sent than signups were accepted.
    """
    began, before = time.time(), meter.read()
    accepted = load()
    await_settled(product, _PATIENCE_SECONDS)
    after = meter.read()
    mailed, ended = mailed_since(product, began)
    if mailed < accepted.requests:
        raise RuntimeError(f"{accepted.requests} signups were accepted and {mailed} were mailed")
    return FullLoad(accepted.per_second, mailed / (ended - began), per_unit(before, after, mailed))
