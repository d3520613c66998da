"""The list of mails with every filter, and one mail with its attempts, its history and what may be done to it."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from ..forms import Fields, wrong
from ..mount import PATH
from ..picture import shares
from ..story import told, words_of
from ..visit import Half, Visit

STATES = (
    "queued", "sending", "deferred", "sent", "bounced", "uncertain", "failed", "canceled", "expired", "suppressed",
)  # fmt: skip
_TEXTS = ("request_id", "message_id", "to", "template", "client", "tag")
_TIMES = ("accepted_after", "accepted_before", "sent_after", "sent_before")
# What may be done to a mail in a state, as the mail service allows it.
RETRYABLE, CANCELABLE, RESOLVABLE = ("failed", "expired", "deferred"), ("queued", "deferred"), ("uncertain",)
_PAGE = "50"
# Each of these has an index or matches many; several together may match few, and so may a time.
_SELECTIVE, _WIDE = ("request_id", "message_id", "to", "tag", "metadata_key"), ("template", "client", "state")
_AMONG = 20_000


async def show(visit: Visit) -> Response:
    wanted = _wanted(visit.query)
    cursor = visit.query.text("cursor", longest=200)
    among = _AMONG if _may_match_few(wanted) else None
    page = {"limit": _PAGE} | ({"cursor": cursor} if cursor else {}) | ({"among": str(among)} if among else {})
    found = await visit.mail_half("/v1/mails", params=_params(wanted) | page)
    flow = await visit.mail_half("/audit/flow") if visit.mail_access.may("audit:read") else Half()
    return visit.page(
        "mails.html",
        wanted=wanted | {"cursor": cursor},
        states=STATES,
        found=found,
        among=among,
        counted=_counted(flow.found),
        shares=shares(_counted(flow.found)),
    )


def _wanted(query: Fields) -> dict[str, Any]:
    """The filters as they were typed, for the form and the links of the page."""
    key, value = query.text("metadata_key", longest=100), query.text("metadata_value")
    if bool(key) != bool(value):
        raise wrong("metadata_value" if key else "metadata_key", "Must be filled in with the other")
    for name in _TIMES:
        query.time(name)
    return {
        **{name: query.text(name) for name in (*_TEXTS, *_TIMES)},
        "metadata_key": key,
        "metadata_value": value,
        "state": query.choices("state", STATES),
    }


def _may_match_few(wanted: Mapping[str, Any]) -> bool:
    """Whether the mail service might read them all for one page."""
    if any(wanted[name] for name in _SELECTIVE):
        return False
    return any(wanted[name] for name in _TIMES) or sum(bool(wanted[name]) for name in _WIDE) > 1


def _params(wanted: Mapping[str, Any]) -> dict[str, str | Sequence[str]]:
    """The filters as the mail service reads them."""
    params: dict[str, str | Sequence[str]] = {name: wanted[name] for name in _TEXTS if wanted[name]}
    if wanted["state"]:
        params["state"] = wanted["state"]
    if wanted["metadata_key"]:
        params[f"metadata.{wanted['metadata_key']}"] = wanted["metadata_value"]
    times = Fields([(name, wanted[name]) for name in _TIMES])
    return params | {name: at.isoformat() for name in _TIMES if (at := times.time(name))}


def _counted(flow: Mapping[str, Any] | None) -> dict[str, int]:
    """Mails by state, as far as they are counted: all but sent ones, up to 10,000 of each."""
    if flow is None:
        return {}
    lanes = [stage for stage in flow["stages"] if stage["name"] != "uncertain"]
    waiting = {"queued": sum(lane["waiting"] for lane in lanes), "sending": sum(lane["in_flight"] for lane in lanes)}
    return waiting | {state: flow["states"].get(state, 0) for state in STATES if state in flow["states"]}


async def show_one(visit: Visit) -> Response:
    mail_id = visit.id("mail_id")
    with_content = visit.query.text("content") == "yes"
    mail = await visit.ask_mail("GET", _of(mail_id), params={"include": "content"} if with_content else None)
    attempts = await visit.ask_mail("GET", f"{_of(mail_id)}/attempts", params={"limit": "100"})
    history = await visit.ask_mail("GET", f"{_of(mail_id)}/history", params={"limit": "100"})
    return visit.page(
        "mail.html",
        mail=mail,
        content=mail.get("content"),
        with_content=with_content,
        attempts=[attempt | {"words": words_of(attempt)} for attempt in attempts["items"]],
        story=[told(_as_item(entry)) for entry in history["items"]],
        actions={
            "retry": mail["state"] in RETRYABLE,
            "cancel": mail["state"] in CANCELABLE,
            "resolve": mail["state"] in RESOLVABLE,
        },
    )


def _as_item(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**entry, "service": "mail", "detail": {**entry["detail"], "actor": entry["actor"]}}


async def retry(visit: Visit) -> Response:
    return await _act(visit, "retry", "The mail is due now.")


async def cancel(visit: Visit) -> Response:
    return await _act(visit, "cancel", "The mail was canceled.")


async def _act(visit: Visit, action: str, notice: str) -> Response:
    mail_id = visit.id("mail_id")
    await visit.ask_mail("POST", f"{_of(mail_id)}/{action}")
    return visit.done(f"{PATH}/mails/{mail_id}", notice)


def _of(mail_id: object) -> str:
    return f"/v1/mails/{mail_id}"
