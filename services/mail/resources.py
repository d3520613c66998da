"""What the API's endpoints work with, built once by `app.py` and found at `app.state.resources`."""

from dataclasses import dataclass
from email.utils import parseaddr

from prometheus_client import Counter

from shared.contract import Recipient
from shared.database import Database
from shared.partitions import Kept
from shared.tracing import OFF, Tracing
from shared.wakeup import Pinger

from .intake.accept import Intake
from .intake.render import Templates
from .settings import Settings


@dataclass(frozen=True)
class Resources:
    database: Database
    intake: Intake
    pinger: Pinger
    redis_url: str
    bounce_domain: str
    content_days: int
    kept: tuple[Kept, ...]
    # By outcome, for Prometheus.
    bounces: Counter


def intake_of(settings: Settings, database: Database, tracing: Tracing = OFF) -> Intake:
    """What accepting needs: in the API for clients, in the worker for alerts."""
    return Intake(
        database=database,
        templates=Templates.load(),
        sender=default_sender(settings),
        message_id_domain=settings.mail_message_id_domain,
        lifetime_seconds=settings.mail_expire_seconds,
        tracing=tracing,
    )


def default_sender(settings: Settings) -> Recipient:
    """MAIL_FROM, read. Raises pydantic's ValidationError when it holds no address."""
    name, email = parseaddr(settings.mail_from)
    return Recipient(email=email, name=name or None)
