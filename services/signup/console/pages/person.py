"""One person: where they stand, both ledgers side by side, and the timeline over both services."""

from typing import Any

from starlette.responses import Response

from shared.contract.ids import UUID
from shared.contract.problems import NotFound

from ...accounts.queries import FIND_USER
from ...audit.queries import OWED_TO_USER
from ...audit.timeline import timeline
from ...process_names import MAIL_CLIENT
from .. import queries
from ..ledgers import pairs_of
from ..standing import standing_of
from ..story import told
from ..visit import Half, Visit

_MOST_ROWS = 100
_SEES_ONLY_ITS_OWN = "This key sees the mails of its own client only: signup's need the scope mails:all."


async def show(visit: Visit) -> Response:
    user_id = visit.id("user_id")
    async with visit.reading() as connection:
        user = await connection.fetchrow(FIND_USER, user_id)
        owed = await connection.fetch(OWED_TO_USER, user_id, _MOST_ROWS)
        request_ids = [str(row["id"]) for row in owed if row["effect"] == "mail"]
        outcomes = await connection.fetch(queries.KNOWN_OUTCOMES, request_ids)
    if user is None:
        raise NotFound("There is no person with this ID.")
    mails = await _mails(visit, request_ids)
    pairs = pairs_of(owed, outcomes, mails.found)
    story = await _story(visit, user_id)
    return visit.page(
        "person.html",
        user=user,
        owed=[row for row in owed if row["effect"] != "mail"],
        pairs=pairs,
        differ=any(pair.differs for pair in pairs),
        mails=mails,
        story=[told(item) for item in story["items"]],
        complete=story["complete"],
        kept_from=story["kept_from"],
        standing=standing_of(user, pairs),
    )


async def _story(visit: Visit, user_id: UUID) -> dict[str, Any]:
    """As `GET /audit/users/{id}` answers: with signup's own key at the mail service."""
    database = await visit.database()
    return await timeline(database.pool, visit.tools.mail_view, user_id)


async def _mails(visit: Visit, request_ids: list[str]) -> Half:
    """The mail service's half of these requests, by request ID, as the operator's key sees it."""
    if not request_ids:
        return Half({})
    access, operator = visit.mail_access, visit.operator
    if not access.fault and not access.may("mails:all") and operator.client != MAIL_CLIENT:
        return Half(fault=_SEES_ONLY_ITS_OWN)
    looked_up = await visit.mail_half("/v1/mails/lookup", method="POST", body={"request_ids": request_ids})
    if looked_up.fault:
        return looked_up
    found = {request_id: mail | {"lost": False} for request_id, mail in looked_up.found["found"].items()}
    lost = {request_id: mail | {"lost": True} for request_id, mail in looked_up.found.get("lost", {}).items()}
    return Half(found | lost)
