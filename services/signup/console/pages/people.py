"""Finding a person, by anything that identifies them or their mail."""

from starlette.responses import RedirectResponse, Response

from shared.http.pagination import cursor_of

from .. import queries
from ..mount import PATH
from ..search import PEOPLE_LOOKED_AT, Found, find
from ..views import HEADERS
from ..visit import Visit

_LONGEST = 320


async def show(visit: Visit) -> Response:
    """Without a question the newest people; with one that names a person without doubt, that person."""
    text = visit.query.text("q", longest=_LONGEST)
    if text:
        found = await find(visit, text, visit.query.cursor())
        if found.exact is not None:
            return RedirectResponse(f"{PATH}/people/{found.exact}", 303, HEADERS)
    else:
        async with visit.reading() as connection:
            found = Found(await connection.fetch(queries.NEWEST_PEOPLE))
    return visit.page(
        "people.html",
        searched=text,
        found=found,
        looked_at=PEOPLE_LOOKED_AT,
        next_cursor=cursor_of(found.next_id) if found.next_id else None,
    )
