"""Build what accepting needs from the settings."""

from email.utils import parseaddr
from functools import cache
from pathlib import Path

from shared.contract.configuration import ConfigurationError
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
        templates=templates or load_templates(settings),
        sender=default_sender(settings),
        sender_domains=SenderDomains.parse(settings.mail_sender_domains, settings.mail_from),
        message_id_domain=settings.mail_message_id_domain,
        lifetime_seconds=settings.mail_expire_seconds,
        tracing=tracing,
    )


def load_templates(settings: Settings) -> Templates:
    """The shipped templates, with those of MAIL_TEMPLATES over them. Later changes of the files change nothing.

    Raises:
        ConfigurationError: MAIL_TEMPLATES names no folder, or a template is broken.
    """
    if not settings.mail_templates:
        return _shipped()
    folder = Path(settings.mail_templates)
    try:
        next(folder.iterdir(), None)
    except OSError as error:
        raise ConfigurationError(
            f"MAIL_TEMPLATES={folder} must be a folder that this process can read: {error.strerror}"
        ) from None
    return Templates.load(own=folder)


@cache
def _shipped() -> Templates:
    """Compiling them takes 0.2 s, and they do not change while a process runs."""
    return Templates.load()


def default_sender(settings: Settings) -> Recipient:
    """MAIL_FROM, parsed. Raises pydantic's ValidationError when it holds no address."""
    name, email = parseaddr(settings.mail_from)
    return Recipient(email=email, name=name or None)
