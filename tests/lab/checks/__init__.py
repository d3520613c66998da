"""The promises, each one function from the evidence to what breaks it."""

from collections.abc import Callable, Mapping

from ..evidence import Evidence
from .acceptance import durable, says_yes
from .copies import honest, once
from .effects import alone
from .history import append_only, follows_the_model
from .ledgers import balance
from .recovery import nothing_is_lost, outages_are_free
from .violation import Violation
from .webhooks import told_once

Check = Callable[[Evidence], list[Violation]]
PROMISES: Mapping[str, Check] = {
    "P1": durable,
    "P2": says_yes,
    "P3": alone,
    "P4": once,
    "P5": honest,
    "P6": balance,
    "P7": append_only,
    "P8": nothing_is_lost,
    "P9": outages_are_free,
    "webhooks": told_once,
    "model": follows_the_model,
}

__all__ = ["PROMISES", "Check", "Violation"]
