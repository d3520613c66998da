"""Mails of which it is not known whether they arrived: the evidence for each, and the three ways to decide."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from ..mount import PATH
from ..story import words_of
from ..visit import Half, Visit

_RESOLUTIONS = {
    "sent": "The mail counts as sent.",
    "resend": "The mail is sent again.",
    "abandon": "The mail was given up.",
}
# Each needs a call for its attempts.
_PAGE = 20


async def show(visit: Visit) -> Response:
    cursor = visit.query.text("cursor", longest=200)
    params = {"state": "uncertain", "limit": str(_PAGE)} | ({"cursor": cursor} if cursor else {})
    found = await visit.mail_half("/v1/mails", params=params)
    mails = found.found["items"] if found.found else []
    attempts = await asyncio.gather(*(_evidence(visit, mail["id"]) for mail in mails))
    return visit.page(
        "uncertain.html",
        found=found,
        wanted={"cursor": cursor},
        mails=[mail | {"evidence": evidence} for mail, evidence in zip(mails, attempts, strict=True)],
    )


async def _evidence(visit: Visit, mail_id: str) -> Half:
    """The attempts, the newest first: what was sent when, and what the gateway said."""
    half = await visit.mail_half(f"/v1/mails/{mail_id}/attempts", params={"limit": "20"})
    if half.fault:
        return half
    return Half([_as_evidence(attempt) for attempt in half.found["items"]])


def _as_evidence(attempt: Mapping[str, Any]) -> dict[str, Any]:
    return {**attempt, "words": words_of(attempt)}


async def resolve(visit: Visit) -> Response:
    """Decide, with a reason that history keeps."""
    mail_id = visit.id("mail_id")
    resolution = visit.form.choice("as", tuple(_RESOLUTIONS)) or visit.form.required("as")
    reason = visit.form.required("reason")
    await visit.ask_mail("POST", f"/v1/mails/{mail_id}/resolve", body={"as": resolution, "reason": reason})
    return visit.done(f"{PATH}/mails/{mail_id}", _RESOLUTIONS[resolution])
