"""Alert mails to the operators: by plain SMTP, bypassing the mail service, when that service is down."""

import asyncio
import hashlib
import smtplib
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import TypeAlias
from urllib.parse import parse_qs, unquote, urlsplit

from ..contract.network import is_loopback, smtp_port
from ..observability.foreign_errors import describe

_TIMEOUT_SECONDS = 10
_LONGEST_SUBJECT = 200
_MALFORMED = (
    "ALERT_SMTP_URL must look like smtp://user:pass@host:port or smtps://…; in a user name or password, percent-encode "
    "the characters / ? # , @ : and % (%2F %3F %23 %2C %40 %3A %25)"
)


class AlertNotSentError(Exception):
    """The message says why."""


@dataclass(frozen=True)
class OperatorMail:
    """One mail to one operator. The same `request_id` names the same mail."""

    request_id: str
    to: str
    subject: str
    text: str


# Hands a mail to the mail service. Raises `AlertNotSentError` when it was not accepted.
Post: TypeAlias = Callable[[OperatorMail], Awaitable[None]]


def fit(subject: str, text: str) -> tuple[str, str]:
    """Subject and text of a mail: a long subject, which may name many domains, is whole in the text."""
    if len(subject) <= _LONGEST_SUBJECT:
        return subject, text
    return f"{subject[: _LONGEST_SUBJECT - 1]}…", f"{subject}\n\n{text}"


def alert_request_id(alert_id: object, phase: str, to: str) -> str:
    """Derived from the incident, so that one mail arrives however many processes send it."""
    return f"alert/{alert_id}/{phase}/{hashlib.sha256(to.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class DirectGateway:
    """An SMTP server that is used without the mail service."""

    host: str
    port: int
    username: str | None
    password: str | None
    implicit_tls: bool
    starttls: bool
    sender: str
    # A file of CA certificates that replace those of the system.
    ca_file: str | None = None

    @classmethod
    def of(cls, url: str, sender: str) -> "DirectGateway":
        """Parse a URL in the format of MAIL_GATEWAYS; parameters that do not matter here are ignored.

        Raises:
            ValueError: the URL is malformed.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(_MALFORMED) from None  # the library's words may quote a password
        if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.path.strip("/") or parts.fragment:
            raise ValueError(_MALFORMED)
        query = parse_qs(parts.query.replace("+", "%2B"))  # as in MAIL_GATEWAYS: a plus sign is one
        if "@" in parts.query and "@" not in parts.netloc and "from" not in query:  # the rest of a password
            raise ValueError(_MALFORMED)
        implicit = parts.scheme == "smtps"
        return cls(
            parts.hostname,
            port or smtp_port(implicit_tls=implicit, logs_in=bool(parts.username)),
            unquote(parts.username) if parts.username else None,
            unquote(parts.password or "") if parts.username else None,
            implicit,
            not implicit and query.get("plain") != ["yes"] and not is_loopback(parts.hostname),
            query.get("from", [sender])[0],
            query.get("ca", [None])[0],
        )

    async def send(self, mail: OperatorMail) -> None:
        """Raises AlertNotSentError when the server did not accept the mail."""
        try:
            await asyncio.to_thread(self._send, mail)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise AlertNotSentError(f"{self.host}:{self.port} refused the mail: {describe(error)}") from error

    def _send(self, mail: OperatorMail) -> None:
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, mail.to, mail.subject
        message["Date"] = format_datetime(datetime.now(UTC))
        # The same on every send, so that a mailbox can recognize a duplicate.
        digest = hashlib.sha256(mail.request_id.encode()).hexdigest()[:32]
        domain = parseaddr(self.sender)[1].rpartition("@")[2] or "counterfoil.invalid"
        message["Message-ID"] = f"<alert.{digest}@{domain}>"
        message.set_content(mail.text)
        tls = ssl.create_default_context(cafile=self.ca_file) if self.implicit_tls or self.starttls else None
        server = (
            smtplib.SMTP_SSL(self.host, self.port, timeout=_TIMEOUT_SECONDS, context=tls)
            if self.implicit_tls
            else smtplib.SMTP(self.host, self.port, timeout=_TIMEOUT_SECONDS)
        )
        with server:
            if self.starttls:
                server.starttls(context=tls)
            if self.username is not None:
                server.login(self.username, self.password or "")
            server.send_message(message)
