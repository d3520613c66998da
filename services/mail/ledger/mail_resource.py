"""The mail as clients see it: its columns and their layout."""

from email.utils import formataddr
from typing import TYPE_CHECKING, Any

import orjson

from shared.db.pool import Record

if TYPE_CHECKING:
    import sqlalchemy as sa

# Read from `mails m LEFT JOIN contents c`: the content may be wiped, the mail row stays.
COLUMNS = """
    m.id, m.request_id, m.client, m.state, m.to_email, m.to_name, c.sender_email, c.sender_name, c.subject,
    m.template, m.template_version, m.locale, m.tags, m.metadata::text AS metadata, m.on_uncertain, m.lane,
    m.attempts, m.gateway, coalesce(m.restored_message_id, m.message_id) AS message_id,
    m.accepted_at, m.send_at, m.sent_at, m.next_attempt_at, m.expires_at,
    m.failure_reason, m.failure_code, m.failure_enhanced_code, m.failure_reply, m.restored,
    encode(m.fingerprint, 'hex') AS fingerprint
"""

_PLAIN = """
    template template_version locale tags on_uncertain lane attempts gateway message_id
    accepted_at send_at sent_at next_attempt_at expires_at restored fingerprint
""".split()  # noqa: SIM905 - one string is the most readable list of column names


def as_resource(row: "Record | sa.RowMapping") -> dict[str, Any]:
    """The `mail` of API.md from a row of `COLUMNS`."""
    return {
        "id": row["id"],
        "request_id": row["request_id"],
        "client": row["client"],
        "state": row["state"],
        "to": {"email": row["to_email"], "name": row["to_name"]},
        "from": _sender(row["sender_name"], row["sender_email"]),
        "subject": row["subject"],
        # Already JSON in the database, so it is passed on unparsed.
        "metadata": orjson.Fragment(row["metadata"]),
        **{name: row[name] for name in _PLAIN},
        "failure": _failure(row),
    }


def _sender(name: str | None, email: str | None) -> str | None:
    if email is None:
        return None
    if name is None:
        return email
    return formataddr((name, email)) if name.isascii() and email.isascii() else f'"{name}" <{email}>'


def _failure(row: "Record | sa.RowMapping") -> dict[str, Any] | None:
    # Version 0.1.0 left the failure of an earlier attempt in a mail that was sent.
    if row["failure_reason"] is None or row["state"] == "sent":
        return None
    return {
        "reason": row["failure_reason"],
        "code": row["failure_code"],
        "enhanced_code": row["failure_enhanced_code"],
        "reply": row["failure_reply"],
    }
