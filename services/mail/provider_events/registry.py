"""The providers whose events are accepted, by name. A name that is not here is answered with 404."""

from collections.abc import Mapping

from shared.contract.configuration import ConfigurationError

from . import brevo, mailgun, postmark, resend, sendgrid, ses
from .settings import parse_provider_events
from .sns_certificates import Fetch
from .source import Source

_OTHERS = {
    "postmark": postmark.source,
    "mailgun": mailgun.source,
    "sendgrid": sendgrid.source,
    "resend": resend.source,
    "brevo": brevo.source,
}


def sources_of(text: str, fetch: Fetch) -> Mapping[str, Source]:
    """Those of `MAIL_PROVIDER_EVENTS`; `fetch` gets files from Amazon's hosts.

    Raises:
        ConfigurationError: a secret is not what its provider signs with.
    """
    sources: dict[str, Source] = {}
    for name, secrets in parse_provider_events(text).items():
        try:
            sources[name] = ses.source(secrets, fetch) if name == "ses" else _OTHERS[name](secrets)
        except ValueError:
            raise ConfigurationError(f"MAIL_PROVIDER_EVENTS: the secret of {name} cannot be read") from None
    return sources
