"""Writes what other servers report about a mail later: a bounce (RFC 3464) and a complaint (RFC 5965). Pure.

Both quote the header of the mail, as real ones do; by it, the sender finds the mail.
"""

import datetime as dt
import re
import uuid
from email.utils import format_datetime

from .message import Envelope
from .simulator import DOMAIN

HOST = "catcher.localhost"
# A notice stays far below what `POST /v1/bounces` takes.
LONGEST_HEADER = 100_000

_HEADER_END = re.compile(rb"\r?\n\r?\n")

_NOTICE = """\
From: {sender}
To: {to}
Subject: {subject}
Date: {date}
Message-ID: <{boundary}@{host}>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type={report_type}; boundary="{boundary}"

--{boundary}
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit

{text}

--{boundary}
Content-Type: message/{report_type}

{fields}

--{boundary}
Content-Type: text/rfc822-headers
Content-Transfer-Encoding: 8bit

{quoted}

--{boundary}--
"""


def bounce(raw: bytes, envelope: Envelope, recipient: str, code: str) -> bytes:
    """A delivery status notification: the mail to `recipient` failed with the enhanced code `code`."""
    fields = {
        "Final-Recipient": f"rfc822; {recipient}",
        "Action": "failed",
        "Status": code,
        "Remote-MTA": f"dns; {DOMAIN}",
        "Diagnostic-Code": f"smtp; 550 {code} <{recipient}>: the simulator bounces every mail to this address",
    }
    return _notice(
        raw,
        envelope,
        sender=f"Mail Delivery System <MAILER-DAEMON@{HOST}>",
        subject="Undelivered Mail Returned to Sender",
        text=f"Your mail could not be delivered to <{recipient}>:\n{fields['Diagnostic-Code']}",
        report_type="delivery-status",
        fields=f"Reporting-MTA: dns; {HOST}\nArrival-Date: {_now()}\n\n{_lines(fields)}",
    )


def complaint(raw: bytes, envelope: Envelope, recipient: str) -> bytes:
    """An abuse report, as feedback loops send it when `recipient` calls the mail spam."""
    fields = {
        "Feedback-Type": "abuse",
        "User-Agent": "counterfoil-mail-catcher/1",
        "Version": "1",
        "Original-Mail-From": f"<{envelope.sender}>",
        "Original-Rcpt-To": f"<{recipient}>",
        "Arrival-Date": _now(),
        "Reported-Domain": envelope.sender.rpartition("@")[2],
    }
    return _notice(
        raw,
        envelope,
        sender=f"Feedback Loop <feedback@{HOST}>",
        subject="Abuse report",
        text=f"<{recipient}> called a mail from <{envelope.sender}> spam.",
        report_type="feedback-report",
        fields=_lines(fields),
    )


def _notice(
    raw: bytes, envelope: Envelope, *, sender: str, subject: str, text: str, report_type: str, fields: str
) -> bytes:
    header = _HEADER_END.split(raw, maxsplit=1)[0][:LONGEST_HEADER]
    notice = _NOTICE.format(
        sender=sender,
        to=f"<{envelope.sender}>",
        subject=subject,
        date=_now(),
        host=HOST,
        boundary=uuid.uuid4().hex,
        text=text,
        report_type=report_type,
        fields=fields,
        quoted=header.decode("utf-8", "surrogateescape"),
    )
    return re.sub(r"\r?\n", "\r\n", notice).encode("utf-8", "surrogateescape")


def _lines(fields: dict[str, str]) -> str:
    return "\n".join(f"{name}: {value}" for name, value in fields.items())


def _now() -> str:
    return format_datetime(dt.datetime.now(dt.UTC))
