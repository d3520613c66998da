"""What the API's endpoints work with, built once by `app.py` and found at `app.state.resources`."""

from dataclasses import dataclass

from prometheus_client import Counter

from shared.db.pool import Database
from shared.worker.partitions import PartitionRetention
from shared.worker.wakeups import Pinger

from ..intake.accept import Intake


@dataclass(frozen=True)
class Resources:
    database: Database
    intake: Intake
    pinger: Pinger
    redis_url: str
    bounce_domain: str
    content_days: int
    kept: tuple[PartitionRetention, ...]
    # By outcome, for Prometheus.
    bounces: Counter
