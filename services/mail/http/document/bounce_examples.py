"""Examples of notices, providers' events and suppressions: see `examples`."""

from typing import Any

from shared.http.document.story import EMAIL, LATER, MAIL, MESSAGE_ID, NOTICE

_NOTICE = (
    "From: MAILER-DAEMON@mx.example.net\r\nTo: bounces@example.com\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/report; report-type=delivery-status; boundary="b"\r\n\r\n'
    "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n"
    f"Final-Recipient: rfc822; {EMAIL}\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
    f"--b\r\nContent-Type: text/rfc822-headers\r\n\r\nMessage-ID: {MESSAGE_ID}\r\n\r\n--b--\r\n"
)
_SUPPRESSION = {
    "email": EMAIL,
    "reason": "The mailbox does not exist",
    "source": "bounce",
    "mail_id": MAIL,
    "created_at": LATER,
    "ends_at": None,
}
BOUNCES: dict[str, Any] = {
    "ingest_bounce": _NOTICE,
    "Ingested": {"outcome": "bounced", "mail_id": MAIL},
    "BouncePage": {
        "items": [
            {
                "id": NOTICE,
                "received_at": LATER,
                "mail_id": MAIL,
                "kind": "failed",
                "outcome": "bounced",
                "status": "5.1.1",
                "code": None,
                "diagnostic": "smtp; 550 5.1.1 No such user",
                "provider": None,
            }
        ],
        "next_cursor": None,
    },
    "receive_events": f'{{"RecordType": "Bounce", "Type": "HardBounce", "Email": "{EMAIL}", "BouncedAt": "{LATER}"}}',
    "EventResults": {"results": [{"outcome": "bounced", "mail_id": MAIL}]},
    "Suppress": {"reason": "Asked by telephone not to be mailed"},
    "Suppression": _SUPPRESSION,
    "put_suppression 201": _SUPPRESSION
    | {"reason": "Asked by telephone not to be mailed", "source": "key:shop/7GQ2m4XKb9Lp", "mail_id": None},
    "SuppressionPage": {"items": [_SUPPRESSION], "next_cursor": None},
    "Deleted": {"deleted": 128},
}
