"""Bounce notices and complaints about a mail, as a bounce mailbox receives them."""

from uuid import UUID

_REPORT = """\
Return-Path: <>
Delivered-To: {to}
Received: by mx.example (Postfix) id 4XyZ; Mon, 23 Nov 2026 10:00:00 +0000 (UTC)
Date: Mon, 23 Nov 2026 10:00:00 +0000 (UTC)
From: MAILER-DAEMON@mx.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: {to}
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type={report_type}; boundary="b1/mx.example"
Message-Id: <20261123100000.4XyZ@mx.example>

This is a MIME-encapsulated message.

--b1/mx.example
Content-Description: Notification
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

I'm sorry to have to inform you about <b@x.example>.

--b1/mx.example
Content-Description: Report
Content-Type: {status_type}

{status}
--b1/mx.example
Content-Description: Message
Content-Type: {quoted_type}

{quoted}
--b1/mx.example--
"""


def recipient_fields(
    action: str = "failed", status: str = "5.1.1", diagnostic: str = "smtp; 550 5.1.1 <b@x.example>: User unknown"
) -> str:
    """The per-message fields, then those of one recipient (RFC 3464)."""
    fields = {"Final-Recipient": "rfc822; b@x.example", "Action": action, "Status": status}
    if diagnostic:
        fields["Diagnostic-Code"] = diagnostic
    lines = "".join(f"{name}: {value}\n" for name, value in fields.items() if value)
    return f"Reporting-MTA: dns; mx.example\nArrival-Date: Mon, 23 Nov 2026 09:59:59 +0000\n\n{lines}"


def quoted_header(mail_id: UUID | str, message_id: str | None = None) -> str:
    """The mail's header as a notice quotes it."""
    lines = [
        "Date: Mon, 23 Nov 2026 09:59:58 +0000",
        "From: Counterfoil <no-reply@counterfoil.example>",
        "To: b@x.example",
        f"Message-ID: {message_id or f'<{mail_id}@counterfoil.example>'}",
        f"X-Counterfoil-ID: {mail_id}",
        "Subject: Welcome",
    ]
    return "\n".join(lines) + "\n"


def report(
    quoted: str,
    status: str | None = None,
    *,
    to: str = "no-reply@counterfoil.example",
    report_type: str = "delivery-status",
    status_type: str = "message/delivery-status",
    quoted_type: str = "message/rfc822",
) -> bytes:
    """A complete multipart/report message with CRLF line ends."""
    text = _REPORT.format(
        to=to,
        report_type=report_type,
        status_type=status_type,
        status=recipient_fields() if status is None else status,
        quoted_type=quoted_type,
        quoted=quoted,
    )
    return text.replace("\n", "\r\n").encode()


def complaint(quoted: str, feedback: str = "Feedback-Type: abuse\nUser-Agent: Loop/1.0\nVersion: 1\n") -> bytes:
    """A complete abuse report (RFC 5965)."""
    return report(quoted, feedback, report_type="feedback-report", status_type="message/feedback-report")


def in_free_words(
    words: str,
    *,
    sender: str = "Mail Delivery System <MAILER-DAEMON@mx.example>",
    subject: str = "Undelivered mail",
    to: str = "no-reply@counterfoil.example",
    fields: str = "",
) -> bytes:
    """A notice that is text alone, as systems write that know no RFC 3464. `fields` are more lines of its header."""
    header = f"Return-Path: <>\nFrom: {sender}\nTo: {to}\nSubject: {subject}\nMessage-Id: <1.2@mx.example>\n{fields}"
    return f"{header}Content-Type: text/plain; charset=utf-8\n\n{words}\n".replace("\n", "\r\n").encode()
