"""Whose processor time the benchmarks tell apart."""

from collections.abc import Sequence

from .processor_time import Meter
from .product import Product

# Process names of the stack, as the tables call them.
NAMES = {
    "signup-api": "signup API",
    "signup-worker": "signup worker",
    "mail-api": "mail API",
    "mail-worker": "mail worker",
}


def servers_of(product: Product) -> dict[str, Sequence[int]]:
    """One PostgreSQL serves both databases; its backends are children of the postmaster."""
    servers = product.stack._servers
    return {"PostgreSQL": [servers["postgres"].pid], "Valkey": [servers["valkey"].pid]}


def meter_of(product: Product) -> Meter:
    """All four processes must run."""
    processes = product.stack.processes
    return Meter({label: [processes[name].pid] for name, label in NAMES.items()} | servers_of(product))
