"""Header lines that one gateway gets and others do not. They stand before the pinned message (ADR 0032). Pure."""

from uuid import UUID

from ..deduplication import header_line
from .settings import GatewaySettings

# What each provider repeats in its events. Resend has no header of this kind; it may repeat `X-Counterfoil-ID`.
_ECHOED = {
    "ses": ("X-SES-MESSAGE-TAGS", "counterfoil_id={mail_id}"),
    "postmark": ("X-PM-Metadata-counterfoil_id", "{mail_id}"),
    "mailgun": ("X-Mailgun-Variables", '{{"counterfoil_id": "{mail_id}"}}'),
    "sendgrid": ("X-SMTPAPI", '{{"unique_args": {{"counterfoil_id": "{mail_id}"}}}}'),
    "brevo": ("X-Mailin-custom", "counterfoil_id:{mail_id}"),
}


def transport_headers(
    settings: GatewaySettings, mail_id: UUID, idempotency_key: str | None = None, *, message: bytes = b""
) -> bytes:
    """The lines, each with its CRLF. The same mail gets the same lines at every attempt, until it is resent.

    `message` is what they stand before: a provider's header that the client gave it is not given twice.
    """
    name, value = _ECHOED.get(settings.provider or "", ("", ""))
    lines = [f"{name}: {value.format(mail_id=mail_id)}"] if name and not _has_header(message, name) else []
    if settings.idempotency_header is not None and idempotency_key is not None:
        lines.append(header_line(settings.idempotency_header, idempotency_key))
    return "".join(f"{line}\r\n" for line in lines).encode()


def _has_header(message: bytes, name: str) -> bool:
    header, _, _ = message.partition(b"\r\n\r\n")
    return f"\r\n{name}:".lower().encode() in b"\r\n" + header.lower()
