"""Collaborators of the API's endpoints. `app.py` builds them once and stores them at `app.state.mail`."""

from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client import Counter
from starlette.requests import Request

from shared.db.pool import Database
from shared.worker.partitions import PartitionRetention
from shared.worker.wakeups import Pinger

from ..intake.accept import Intake
from ..provider_events.source import Source


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
    # The providers whose events are accepted, and those events by provider and outcome.
    event_sources: Mapping[str, Source]
    provider_events: Counter


def state_of(request: Request) -> AppState:
    state: AppState = request.app.state.mail
    return state
