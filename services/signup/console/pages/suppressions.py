"""Addresses that are not mailed: why, since when, and until when; adding one, and allowing one or a group again."""

from urllib.parse import quote

from starlette.responses import Response

from ..forms import wrong
from ..mount import PATH
from ..visit import Visit

_PATH = f"{PATH}/suppressions"
_LONGEST = 320


async def show(visit: Visit) -> Response:
    email, cursor = visit.query.text("email", longest=_LONGEST), visit.query.text("cursor", longest=600)
    params = {"limit": "50"} | ({"email": email} if email else {}) | ({"cursor": cursor} if cursor else {})
    found = await visit.mail_half("/v1/suppressions", params=params)
    return visit.page("suppressions.html", found=found, wanted={"email": email, "cursor": cursor})


async def add(visit: Visit) -> Response:
    email = visit.form.required("email", longest=_LONGEST)
    reason = visit.form.required("reason")
    await visit.ask_mail("PUT", _one(email), body={"reason": reason})
    return visit.done(_PATH, f"{email} is not mailed any more.")


async def remove(visit: Visit) -> Response:
    email = visit.form.required("email", longest=_LONGEST)
    await visit.ask_mail("DELETE", _one(email))
    return visit.done(_PATH, f"{email} is mailed again.")


async def remove_group(visit: Visit) -> Response:
    """All that one source suppressed within a time."""
    source = visit.form.required("source", longest=200)
    after, before = visit.form.time("after"), visit.form.time("before")
    if after and before and after >= before:
        raise wrong("before", "Must be later than the other time")
    params = {"source": source}
    params |= {name: at.isoformat() for name, at in (("after", after), ("before", before)) if at}
    answer = await visit.ask_mail("DELETE", "/v1/suppressions", params=params)
    return visit.done(_PATH, f"Allowed again: {answer['deleted']}.")


def _one(email: str) -> str:
    return f"/v1/suppressions/{quote(email, safe='')}"
