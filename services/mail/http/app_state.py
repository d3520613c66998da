"""Collaborators of the API's endpoints. `app.py` builds them once and stores them at `app.state.mail`."""

from dataclasses import dataclass

from prometheus_client import Counter
from starlette.requests import Request

from shared.db.pool import Database
from shared.worker.partitions import PartitionRetention
from shared.worker.wakeups import Pinger

from ..intake.accept import Intake


@dataclass(frozen=True)
class AppState:
    database: Database
    intake: Intake
    pinger: Pinger
    redis_url: str
    bounce_domain: str
    content_days: int
    suppression_days: int
    attachments_max_bytes: int
    kept: tuple[PartitionRetention, ...]
    # Ingested notices by outcome, for Prometheus.
    bounces: Counter


def state_of(request: Request) -> AppState:
    state: AppState = request.app.state.mail
    return state
