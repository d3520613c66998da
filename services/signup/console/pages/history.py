"""The append-only history of both services, newest first, with who did what."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from starlette.responses import Response

from shared.contract.ids import UUID
from shared.http.pagination import cursor_of

from ..story import title_of
from ..visit import Half, Visit

_PAGE = 50
_SERVICES = ("signup", "mail")


async def show(visit: Visit) -> Response:
    query = visit.query
    subject, kind = query.text("subject", longest=300), query.text("kind", longest=100)
    service = query.choice("service", _SERVICES)
    after, before, below = query.time("after"), query.time("before"), query.cursor()
    own, mail = list[dict[str, Any]](), Half({"items": []})
    if service != "mail":
        database = await visit.list_database()
        from shared.db.history import read_history  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

        own = await read_history(
            database,
            subjects=[subject] if subject else [],
            kinds=[kind] if kind else [],
            after=after,
            before=before,
            cursor=below,
            limit=_PAGE,
        )
    if service != "signup":
        mail = await _of_mail(visit, subject, kind, (after, before), below)
    entries = _merged(own, mail.found["items"] if mail.found else ())
    return visit.page(
        "history.html",
        entries=entries[:_PAGE],
        mail=mail,
        next_cursor=cursor_of(entries[_PAGE - 1]["id"]) if len(entries) > _PAGE else None,
        wanted={
            "subject": subject,
            "kind": kind,
            "service": service,
            "after": query.text("after"),
            "before": query.text("before"),
            "cursor": query.text("cursor", longest=200),
        },
        services=_SERVICES,
    )


async def _of_mail(
    visit: Visit, subject: str, kind: str, times: tuple[datetime | None, datetime | None], below: UUID | None
) -> Half:
    params = {"limit": str(_PAGE + 1), "subject": subject, "kind": kind}
    params |= {name: at.isoformat() for name, at in zip(("after", "before"), times, strict=True) if at}
    if below:
        params["cursor"] = cursor_of(below)
    return await visit.mail_half("/audit/history", params={name: value for name, value in params.items() if value})


def _merged(own: Sequence[Mapping[str, Any]], mail: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Newest first. IDs are UUIDv7, which follow time in both services, so one cursor is good for both."""
    entries = [_as_entry("signup", entry, entry["id"]) for entry in own]
    entries += [_as_entry("mail", entry, UUID(entry["id"])) for entry in mail]
    return sorted(entries, key=lambda entry: entry["id"], reverse=True)


def _as_entry(service: str, entry: Mapping[str, Any], entry_id: UUID) -> dict[str, Any]:
    return {**entry, "service": service, "id": entry_id, "title": title_of(entry["kind"])}
