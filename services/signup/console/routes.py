"""All pages, with the scopes that each needs. An action is a POST."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from re import Pattern
from typing import Any

from starlette.convertors import Convertor
from starlette.responses import Response
from starlette.routing import compile_path

from .mount import PATH
from .navigation import ENTRIES, Entry
from .pages import (
    checks,
    gateways,
    history,
    imports,
    mails,
    outbox,
    overview,
    people,
    person,
    reconciliation,
    suppressions,
    uncertain,
    webhooks,
)
from .visit import Visit

Show = Callable[[Visit], Awaitable[Response]]
_ROOMS = {entry.title: entry for entry in ENTRIES}


@dataclass(frozen=True)
class Page:
    """`needs` and `mail_needs` are asked for besides what the room needs. `path` is what metrics and logs show."""

    method: str
    path: str
    show: Show
    room: Entry
    needs: Sequence[str] = ()
    mail_needs: Sequence[str] = ()
    pattern: Pattern[str] = field(init=False)
    convertors: dict[str, Convertor[Any]] = field(init=False)

    def __post_init__(self) -> None:
        pattern, _, convertors = compile_path(self.path)
        object.__setattr__(self, "pattern", pattern)
        object.__setattr__(self, "convertors", convertors)

    def parameters(self, path: str) -> dict[str, Any] | None:
        """The parameters in a path; None when it is another page's."""
        match = self.pattern.match(path)
        if match is None:
            return None
        return {name: self.convertors[name].convert(text) for name, text in match.groupdict().items()}


def _get(path: str, show: Show, room: str, **needs: Sequence[str]) -> Page:
    return Page("GET", PATH + path, show, _ROOMS[room], **needs)


def _post(path: str, show: Show, room: str, **needs: Sequence[str]) -> Page:
    return Page("POST", PATH + path, show, _ROOMS[room], **needs)


_OPERATE = {"needs": ("audit:operate",)}
_MAIL_OPERATE = {"mail_needs": ("mails:operate",)}

PAGES: Sequence[Page] = (
    _get("", overview.show, "Overview"),
    _get("/people", people.show, "People"),
    _get("/people/{user_id:uuid}", person.show, "People"),
    _get("/mails", mails.show, "Mails"),
    _get("/mails/{mail_id:uuid}", mails.show_one, "Mails"),
    _post("/mails/{mail_id:uuid}/retry", mails.retry, "Mails", **_MAIL_OPERATE),
    _post("/mails/{mail_id:uuid}/cancel", mails.cancel, "Mails", **_MAIL_OPERATE),
    _get("/uncertain", uncertain.show, "Uncertain"),
    _post("/mails/{mail_id:uuid}/resolve", uncertain.resolve, "Uncertain", **_MAIL_OPERATE),
    _get("/suppressions", suppressions.show, "Suppressions"),
    _post("/suppressions/add", suppressions.add, "Suppressions"),
    _post("/suppressions/remove", suppressions.remove, "Suppressions"),
    _post("/suppressions/remove-group", suppressions.remove_group, "Suppressions"),
    _get("/outbox", outbox.show, "Outbox"),
    _post("/outbox/redrive", outbox.redrive, "Outbox", **_OPERATE),
    _get("/outbox/{row_id:uuid}", outbox.show_one, "Outbox"),
    _post("/outbox/{row_id:uuid}/retry", outbox.retry, "Outbox", **_OPERATE),
    _post("/outbox/{row_id:uuid}/cancel", outbox.cancel, "Outbox", **_OPERATE),
    _get("/imports", imports.show, "Imports"),
    _get("/imports/{import_id:uuid}", imports.show_one, "Imports"),
    _post("/imports/{import_id:uuid}/pause", imports.pause, "Imports"),
    _post("/imports/{import_id:uuid}/resume", imports.resume, "Imports"),
    _post("/imports/{import_id:uuid}/cancel", imports.cancel, "Imports"),
    _get("/reconciliation", reconciliation.show, "Reconciliation"),
    _post("/reconciliation/run", reconciliation.run, "Reconciliation", **_OPERATE),
    _get("/reconciliation/findings", reconciliation.show_findings, "Reconciliation"),
    _get("/reconciliation/{run_id:uuid}", reconciliation.show_one, "Reconciliation"),
    _get("/checks", checks.show, "Checks and alerts"),
    _post("/checks/run", checks.run, "Checks and alerts", **_OPERATE),
    _get("/runbook/{name}", checks.show_runbook, "Checks and alerts"),
    _get("/gateways", gateways.show, "Gateways"),
    _get("/webhooks", webhooks.show, "Webhooks"),
    _get("/webhooks/signup/{subscriber_id:uuid}", webhooks.show_own, "Webhooks"),
    _get("/webhooks/mail/{subscriber_id:uuid}", webhooks.show_of_mail, "Webhooks"),
    _post("/webhooks/signup/{subscriber_id:uuid}/replay", webhooks.replay_own, "Webhooks"),
    _post("/webhooks/mail/{subscriber_id:uuid}/replay", webhooks.replay_of_mail, "Webhooks"),
    _post("/webhooks/signup/{subscriber_id:uuid}/enable", webhooks.enable_own, "Webhooks"),
    _post("/webhooks/mail/{subscriber_id:uuid}/enable", webhooks.enable_of_mail, "Webhooks"),
    _get("/history", history.show, "History"),
)
