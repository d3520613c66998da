"""The append-only history of both services, newest first, with who did what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.responses import Response

from shared.contract.ids import UUID
from shared.http.pagination import after_id, cursor_of

from ..story import title_of
from ..visit import Half, Visit

_PAGE = 50
# Entries that are looked at for a kind, of which there may be few: about a fifth of what a page may cost.
_AMONG = 10_000
_SERVICES = ("signup", "mail")


async def show(visit: Visit) -> Response:
    query = visit.query
    subject, kind = query.text("subject", longest=300), query.text("kind", longest=100)
    service = query.choice("service", _SERVICES)
    after, before, below = query.time("after"), query.time("before"), query.cursor()
    own, mail = Read(), Half(Read())
    if service != "mail":
        database = await visit.list_database()
        from shared.db.history import Asked, read_history  # noqa: PLC0415 - it loads SQLAlchemy

        asked = Asked([subject] if subject else [], [kind] if kind else [], after, before, below, _AMONG)
        entries, last = await read_history(database, asked, limit=_PAGE)
        own = Read([_as_entry("signup", entry, entry["id"]) for entry in entries], last)
    if service != "signup":
        mail = await _of_mail(visit, subject, kind, (after, before), below)
    shown = merged(own, mail.found or Read())
    return visit.page(
        "history.html",
        entries=shown.entries,
        mail=mail,
        next_cursor=cursor_of(shown.last) if shown.last else None,
        wanted={
            "subject": subject,
            "kind": kind,
            "service": service,
            "after": query.text("after"),
            "before": query.text("before"),
            "cursor": query.text("cursor", longest=200),
        },
        services=_SERVICES,
        among=_AMONG if kind and not subject else None,
    )


@dataclass(frozen=True)
class Read:
    """Entries, newest first. `last`: where the next page begins; None: there is none."""

    entries: Sequence[Mapping[str, Any]] = ()
    last: UUID | None = None


async def _of_mail(
    visit: Visit, subject: str, kind: str, times: tuple[datetime | None, datetime | None], below: UUID | None
) -> Half:
    params = {"limit": str(_PAGE), "subject": subject, "kind": kind}
    params |= {name: at.isoformat() for name, at in zip(("after", "before"), times, strict=True) if at}
    if below:
        params["cursor"] = cursor_of(below)
    if kind and not subject:
        params["among"] = str(_AMONG)
    half = await visit.mail_half("/audit/history", params={name: value for name, value in params.items() if value})
    if half.fault:
        return half
    entries = [_as_entry("mail", entry, UUID(entry["id"])) for entry in half.found["items"]]
    return Half(Read(entries, after_id(half.found["next_cursor"])))


def merged(own: Read, mail: Read) -> Read:
    """Both, newest first, down to where the first of them ends: IDs are UUIDv7, which follow time in both services."""
    last = max((half.last for half in (own, mail) if half.last), default=None)
    entries = sorted([*own.entries, *mail.entries], key=lambda entry: entry["id"], reverse=True)
    return Read([entry for entry in entries if last is None or entry["id"] >= last], last)


def _as_entry(service: str, entry: Mapping[str, Any], entry_id: UUID) -> dict[str, Any]:
    return {**entry, "service": service, "id": entry_id, "title": title_of(entry["kind"])}
