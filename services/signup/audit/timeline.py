"""What happened to one user, over both services: signup's history, and the mail service's for each mail owed.

Every item is an entry of history, a row with the time it was owed, or an attempt on record. The timeline works without
the mail service: it then has signup's half only, and says so.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.db.pool import Pool, Record

from . import queries
from .mail_service_view import MailServiceView, MailServiceViewError

# Where there are more, the newest ones: operators read no further, and the answer stays readable.
_MAX_ROWS, _MAX_ENTRIES, _MAX_MAILS = 1000, 2000, 200

Item = dict[str, Any]


async def timeline(pool: Pool, mail: MailServiceView, user_id: UUID) -> dict[str, Any]:
    """Returns items oldest first. Raises NotFound when the user never existed; an erased user has a timeline too.

    `kept_from` is None, or the time before which this ledger's records have been dropped.
    """
    person = await pool.fetchrow(queries.FIND_PERSON, user_id)
    if person is None:
        raise NotFound("There is no such user.")
    owed = await pool.fetch(queries.OWED_TO_USER, user_id, _MAX_ROWS)
    ids = [str(user_id), *(str(row["id"]) for row in owed)]
    entries = await pool.fetch(queries.HISTORY_OF_SUBJECTS, ids, _MAX_ENTRIES)
    items = [_owed_item(row) for row in owed] + [_entry_item(row) for row in entries]
    unavailable: list[str] = []
    try:
        items += await _mail_items(mail, [str(row["id"]) for row in owed if row["effect"] == "mail"])
    except MailServiceViewError:
        unavailable.append("mail")
    items.sort(key=lambda item: item["at"])
    return {
        "user_id": user_id,
        "complete": not unavailable,
        "unavailable": unavailable,
        "kept_from": person["kept_from"],
        "items": items,
    }


def _owed_item(row: Record) -> Item:
    detail = {name: row[name] for name in ("effect", "state", "attempts") if row[name] is not None}
    for name in ("template", "event", "last_error", "due_at"):
        if row[name] is not None:
            detail[name] = row[name]
    return _item(row["created_at"], "signup", "outbox.owed", str(row["id"]), detail, row["correlation_id"])


def _entry_item(row: Record) -> Item:
    detail = orjson.loads(row["detail"]) | {"actor": row["actor"]}
    return _item(row["at"], "signup", row["kind"], row["subject"], detail, row["correlation_id"])


async def _mail_items(mail: MailServiceView, request_ids: Sequence[str]) -> list[Item]:
    if not request_ids:
        return []
    found = await mail.look_up(request_ids)
    newest = sorted(found.values(), key=lambda found_mail: str(found_mail["id"]), reverse=True)[:_MAX_MAILS]
    try:
        async with asyncio.TaskGroup() as tasks:
            calls = [tasks.create_task(_items_of(mail, str(found_mail["id"]))) for found_mail in newest]
    except ExceptionGroup as group:
        raise MailServiceViewError(str(group.exceptions[0])) from group
    return [item for task in calls for item in task.result()]


async def _items_of(mail: MailServiceView, mail_id: str) -> list[Item]:
    entries, attempts = await mail.history_of(mail_id), await mail.attempts_of(mail_id)
    items = [
        _item(
            _timestamp(entry["at"]),
            "mail",
            entry["kind"],
            entry["subject"],
            entry["detail"] | {"actor": entry["actor"]},
            entry["correlation_id"],
        )
        for entry in entries
    ]
    # The request that caused the mail also caused its attempts.
    caused_by = next((entry["correlation_id"] for entry in reversed(entries)), None)
    return items + [_attempt_item(mail_id, attempt, caused_by) for attempt in attempts]


def _attempt_item(mail_id: str, attempt: Mapping[str, Any], caused_by: str | None) -> Item:
    ended = attempt["ended_at"] or attempt["transmitting_at"] or attempt["claimed_at"]
    kind = f"attempt.{attempt['outcome'] or attempt['phase']}"
    return _item(_timestamp(ended), "mail", kind, mail_id, dict(attempt), caused_by)


def _item(
    at: datetime, service: str, kind: str, subject: str, detail: dict[str, Any], correlation_id: str | None
) -> Item:
    return {
        "at": at,
        "service": service,
        "kind": kind,
        "subject": subject,
        "detail": detail,
        "correlation_id": correlation_id,
    }


def _timestamp(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
