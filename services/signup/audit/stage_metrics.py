"""Metrics of signup's stages: the outbox, its relays, imports and the balance of both ledgers."""

from collections.abc import Iterator, Sequence
from typing import Any

from shared.observability.stage_metrics import Sample, Stage, StageSource, Worker
from shared.worker.circuit_breaker import breaker_metric

from ..outbox.effect_registry import EFFECTS
from ..process_names import WORKER
from .stage_metrics_queries import READ_STAGES

# What a relay counts for each effect. All are there from the first scrape on, or Prometheus misses the first increase.
_OUTCOMES = ("delivered", "retried", "released", "canceled", "dead")
_OPEN_IMPORTS = ("receiving", "running", "paused")

OUTBOX_ROWS = Stage("outbox_rows", "Rows in the outbox; counted up to 10,000 each", ("effect", "state"))
OLDEST_DUE = Stage(
    "outbox_oldest_due_age_seconds",
    "How long the most overdue row has waited: since it was due, or first due if it never had a verdict",
    ("effect",),
)
RELAYED = Stage(
    "relay_rows",
    "Rows that a worker settled, by outcome: delivered, retried (a verdict: later), released (an outage), canceled, "
    "dead",
    ("worker", "effect", "outcome"),
    is_counter=True,
)
LEASE_LOST = Stage(
    "relay_lease_lost",
    "Rows that another lease held when a worker came to settle them",
    ("worker", "effect"),
    is_counter=True,
)
BREAKER = Stage(
    "breaker_state", "The breaker in front of an effect's peer: 0 closed, 1 half open, 2 open", ("worker", "effect")
)
IMPORTS = Stage("imports", "Imports that are not finished", ("state",))
UNREACHABLE = Stage(
    "unreachable_users",
    "Pending users whose latest verification mail was not delivered; of the newest 1,000 such mails",
)
BALANCED_AGE = Stage(
    "reconciliation_balanced_age_seconds", "Time since the end of the newest window in which both ledgers agreed"
)


def _read(row: dict[str, Any], workers: Sequence[Worker]) -> Iterator[Sample]:
    for effect, pending, leased, dead, oldest in row["outbox"]:
        for state, rows in (("pending", pending), ("leased", leased), ("dead", dead)):
            yield OUTBOX_ROWS, (effect, state), rows
        yield OLDEST_DUE, (effect,), oldest
    for state in _OPEN_IMPORTS:
        yield IMPORTS, (state,), row["imports"].get(state, 0)
    yield UNREACHABLE, (), row["unreachable"]
    if row["balanced"] is not None:
        yield BALANCED_AGE, (), row["balanced"]
    for worker in workers:
        for effect, reported in worker.detail.get("effects", {}).items():
            yield BREAKER, (worker.name, effect), breaker_metric(reported["breaker"])
            for outcome in _OUTCOMES:
                yield RELAYED, (worker.name, effect, outcome), reported["rows"].get(outcome, 0)
            yield LEASE_LOST, (worker.name, effect), reported["rows"].get("lease_lost", 0)


STAGE_SOURCE = StageSource(
    prefix="counterfoil_signup_",
    stages=(OUTBOX_ROWS, OLDEST_DUE, RELAYED, LEASE_LOST, BREAKER, IMPORTS, UNREACHABLE, BALANCED_AGE),
    query=READ_STAGES,
    worker=WORKER,
    tables=("users", "outbox", "heartbeats"),
    arguments=(list(EFFECTS),),
    read=_read,
)
