"""Build what accepting needs from the settings."""

from email.utils import parseaddr

from shared.contract.fields import Recipient
from shared.db.pool import Database
from shared.observability.spans import OFF, Tracing

from ..settings import Settings
from .accept import Intake
from .sender_domains import SenderDomains
from .template_engine import Templates


def make_intake(
    settings: Settings, database: Database, tracing: Tracing = OFF, *, templates: Templates | None = None
) -> Intake:
    """Used in the API for clients and in the worker for alerts.

    Raises:
        ConfigurationError: without `templates` it loads them, and one is broken.
    """
    return Intake(
        database=database,
        templates=templates or Templates.load(),
        sender=default_sender(settings),
        sender_domains=SenderDomains.parse(settings.mail_sender_domains, settings.mail_from),
        message_id_domain=settings.mail_message_id_domain,
        lifetime_seconds=settings.mail_expire_seconds,
        tracing=tracing,
    )


def default_sender(settings: Settings) -> Recipient:
    """MAIL_FROM, parsed. Raises pydantic's ValidationError when it holds no address."""
    name, email = parseaddr(settings.mail_from)
    return Recipient(email=email, name=name or None)
