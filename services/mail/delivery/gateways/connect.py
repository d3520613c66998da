"""Open a connection to a gateway with aiosmtplib: connect, EHLO, TLS where required, login."""

import asyncio
import ssl
from typing import cast

import aiosmtplib

from shared.observability.foreign_errors import describe

from ..smtp_outcomes import Step, Verdict, classify, interrupted
from .settings import GatewaySettings, Tls
from .smtp_connection import ConversationEnded, SmtpConnection, Timeouts
from .smtp_conversation import SmtpConversation


async def open_connection(
    settings: GatewaySettings, timeouts: Timeouts, ehlo_name: str, tls_context: ssl.SSLContext | None
) -> SmtpConnection:
    """Connect, start TLS where required, log in.

    Raises:
        ConversationEnded: it failed; the verdict is a gateway fault.
    """
    client = aiosmtplib.SMTP(
        hostname=settings.host,
        port=settings.port,
        username=settings.username,
        password=settings.password,
        local_hostname=ehlo_name,
        timeout=timeouts.command_seconds,
        use_tls=settings.tls is Tls.IMPLICIT,
        start_tls=settings.tls is Tls.STARTTLS,
        tls_context=tls_context,
    )
    try:
        await client.connect()
        if client.is_ehlo_or_helo_needed:
            await client.ehlo()
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        client.close()
        raise ConversationEnded(_not_connected(error)) from error
    except BaseException:
        client.close()
        raise
    if client.transport is None:  # closed right after its last reply
        raise ConversationEnded(interrupted(Step.CONNECT, "connection lost"))
    conversation = SmtpConversation(cast("asyncio.WriteTransport", client.transport))  # uvloop's class is no subclass
    return SmtpConnection(conversation, dict(client.esmtp_extensions), timeouts)


def _not_connected(error: Exception) -> Verdict:
    """The reason is our own text: a library's message may quote the gateway."""
    if isinstance(error, aiosmtplib.SMTPResponseException):
        return classify(Step.CONNECT, error.code, error.message)
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    if any(isinstance(cause, ssl.SSLError) for cause in causes):
        return interrupted(Step.CONNECT, f"TLS failed ({describe(causes[-1])})")
    if any(isinstance(cause, TimeoutError) for cause in causes):
        return interrupted(Step.CONNECT, "timed out")
    if type(error) is aiosmtplib.SMTPException:  # the library's own refusals: no STARTTLS or no AUTH offered
        return interrupted(Step.CONNECT, error.message)
    return interrupted(Step.CONNECT, f"cannot connect ({describe(causes[-1])})")
