"""Stage metrics of the mail service: queue, delivery, gateways, rescues and uncertain mails."""

from collections.abc import Iterator, Sequence
from typing import Any

from shared.observability.stage_metrics import Sample, Stage, StageSource, Worker
from shared.worker.circuit_breaker import breaker_metric

from ..delivery.smtp_outcomes import Outcome
from ..delivery.states import MailState
from ..process_names import WORKER
from .stage_metrics_queries import READ_STAGES

# Present from the first scrape on, or Prometheus misses the first increase.
_STATES = tuple(
    str(state)
    for state in (
        MailState.SENT,
        MailState.DEFERRED,
        MailState.UNCERTAIN,
        MailState.FAILED,
        MailState.EXPIRED,
        MailState.SUPPRESSED,
    )
)

_WEBHOOK_OUTCOMES = ("delivered", "retried", "canceled", "dead", "lease_lost")

QUEUED = Stage("queue_mails", "Mails that still have to be sent; counted up to 10,000 a lane", ("lane", "state"))
OLDEST_DUE = Stage("queue_oldest_due_age_seconds", "Time since the oldest waiting mail of a lane became due", ("lane",))
UNCERTAIN = Stage("uncertain_mails", "Mails in state uncertain; an operator must resolve them")
UNCERTAIN_AGE = Stage("uncertain_oldest_age_seconds", "Time since the oldest uncertain mail became uncertain")
ATTEMPTS = Stage("attempts", "Attempts that a worker ended, by outcome", ("worker", "outcome"), is_counter=True)
REACHED = Stage(
    "mails", "Mails that a worker moved to a state; deferred ones are tried again", ("worker", "state"), is_counter=True
)
RESCUED = Stage("rescued", "Mails taken over from silent workers", ("worker",), is_counter=True)
LEASE_LOST = Stage("lease_lost", "Mails that another process took from a worker", ("worker",), is_counter=True)
IN_FLIGHT = Stage("in_flight", "Mails that a worker has claimed and not settled", ("worker",))
BREAKER = Stage("breaker_state", "Circuit breaker of a gateway: 0 closed, 1 half open, 2 open", ("worker", "gateway"))
GATEWAY_IN_FLIGHT = Stage("gateway_in_flight", "Mails being handed to a gateway now", ("worker", "gateway"))
GATEWAY_CONNECTIONS = Stage("gateway_connections", "Most connections of a worker to a gateway", ("worker", "gateway"))
GATEWAY_CONNECTIONS_ALLOWED = Stage(
    "gateway_connections_allowed",
    "Connections that a worker uses at most now: fewer after the gateway turned some away",
    ("worker", "gateway"),
)
GATEWAY_CONNECTIONS_OPEN = Stage(
    "gateway_connections_open", "Connections of a worker that a gateway has let in", ("worker", "gateway")
)
FEED_LAG = Stage(
    "change_feed_lag_seconds", "Age of the oldest change that GET /v1/changes does not show yet; 0 when it shows all"
)
WEBHOOKS_WAITING = Stage(
    "webhook_deliveries_waiting", "Webhook deliveries that wait, when a worker last looked", ("worker",)
)
WEBHOOKS_OLDEST = Stage(
    "webhook_oldest_waiting_age_seconds", "Time since the event of the oldest waiting delivery happened", ("worker",)
)
WEBHOOKS_DEAD = Stage(
    "webhook_deliveries_dead", "Webhook deliveries given up in the last day and not delivered since; up to 1,000"
)
WEBHOOKS = Stage(
    "webhook_deliveries",
    "Webhook deliveries that a worker settled, by outcome: delivered, retried, canceled, dead, lease_lost",
    ("worker", "outcome"),
    is_counter=True,
)
RETENTION_AGE = Stage("retention_age_seconds", "Time since retention last ran; missing before the first run")

_STAGES = (
    QUEUED,
    OLDEST_DUE,
    UNCERTAIN,
    UNCERTAIN_AGE,
    ATTEMPTS,
    REACHED,
    RESCUED,
    LEASE_LOST,
    IN_FLIGHT,
    BREAKER,
    GATEWAY_IN_FLIGHT,
    GATEWAY_CONNECTIONS,
    GATEWAY_CONNECTIONS_ALLOWED,
    GATEWAY_CONNECTIONS_OPEN,
    FEED_LAG,
    WEBHOOKS_WAITING,
    WEBHOOKS_OLDEST,
    WEBHOOKS_DEAD,
    WEBHOOKS,
    RETENTION_AGE,
)


def _read(values: dict[str, Any], workers: Sequence[Worker]) -> Iterator[Sample]:
    for lane, waiting, leased, oldest in values["queue"]:
        yield QUEUED, (lane, "waiting"), waiting
        yield QUEUED, (lane, "leased"), leased
        yield OLDEST_DUE, (lane,), oldest
    uncertain, oldest_uncertain = values["uncertain"]
    yield UNCERTAIN, (), uncertain
    yield UNCERTAIN_AGE, (), oldest_uncertain
    yield FEED_LAG, (), values["feed_lag"]
    yield WEBHOOKS_DEAD, (), values["dead_webhooks"]
    if values["retention"] is not None:
        yield RETENTION_AGE, (), values["retention"]
    for worker in workers:
        yield from _worker_samples(worker)


def _worker_samples(worker: Worker) -> Iterator[Sample]:
    name, detail = worker.name, worker.detail
    for outcome in Outcome:
        yield ATTEMPTS, (name, outcome), detail.get("outcomes", {}).get(outcome, 0)
    for state, mails in (dict.fromkeys(_STATES, 0) | detail.get("states", {})).items():
        yield REACHED, (name, state), mails
    for stage, key in ((RESCUED, "rescued"), (LEASE_LOST, "lease_lost"), (IN_FLIGHT, "in_flight")):
        yield stage, (name,), detail.get(key, 0)
    webhooks = detail.get("webhooks") or {}
    yield WEBHOOKS_WAITING, (name,), webhooks.get("waiting", 0)
    yield WEBHOOKS_OLDEST, (name,), webhooks.get("oldest_seconds", 0)
    for settled in _WEBHOOK_OUTCOMES:
        yield WEBHOOKS, (name, settled), webhooks.get("rows", {}).get(settled, 0)
    for gateway in detail.get("gateways", []):
        labels = (name, gateway["name"])
        yield BREAKER, labels, breaker_metric(gateway["breaker"])
        yield GATEWAY_IN_FLIGHT, labels, gateway["in_flight"]
        yield GATEWAY_CONNECTIONS, labels, gateway["connections"]
        yield GATEWAY_CONNECTIONS_ALLOWED, labels, gateway.get("connections_allowed", gateway["connections"])
        yield GATEWAY_CONNECTIONS_OPEN, labels, gateway.get("connections_open", 0)


STAGE_SOURCE = StageSource(
    prefix="counterfoil_mail_",
    stages=_STAGES,
    query=READ_STAGES,
    worker=WORKER,
    tables=("mails", "queue", "attempts", "heartbeats"),
    arguments=(),
    read=_read,
)
