"""Imports of the operator's client: progress, outcomes, each row with its reason; pause, resume and cancel."""

from typing import Any

from starlette.responses import Response

from shared.contract.ids import UUID
from shared.contract.problems import NotFound
from shared.http.pagination import cursor_of

from ...imports import listing
from ...imports.operator_actions import ImportAction, apply_action
from ...imports.states import Outcome, State, next_state
from ..mount import PATH
from ..visit import Visit

_PATH, _PAGE = f"{PATH}/imports", 50
# No index has the rows that were created, so they are looked for among so many.
_AMONG = 20_000
_OUTCOMES = tuple(str(outcome) for outcome in Outcome)
_DONE = {"pause": "The import is paused.", "resume": "The import goes on.", "cancel": "The import was canceled."}


async def show(visit: Visit) -> Response:
    below = visit.query.cursor()
    found = await listing.list_imports(await visit.database(), visit.operator.client, below, _PAGE)
    return visit.page(
        "imports.html",
        imports=[_with_progress(each) for each in found[:_PAGE]],
        next_cursor=cursor_of(found[_PAGE - 1]["id"]) if len(found) > _PAGE else None,
        wanted={"cursor": visit.query.text("cursor", longest=200)},
    )


async def show_one(visit: Visit) -> Response:
    import_id, outcomes = visit.id("import_id"), visit.query.choices("outcome", _OUTCOMES)
    database = await visit.list_database()
    row = await listing.find(database, import_id, visit.operator.client)
    if row is None:
        raise NotFound("Your client has no import with this ID.")
    after = visit.query.cursor()
    from ...imports import row_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    line = min(after.int, 2**31 - 1) if after else 0
    is_searched = Outcome.CREATED in outcomes
    last = min(line + _AMONG, 2**31 - 1) if is_searched else None
    rows = await row_list.list_rows(database, import_id, outcomes, line, _PAGE, last=last)
    next_line = last if last and last < (row["done_through_line"] or 0) else 0
    if len(rows) > _PAGE:
        next_line = rows[_PAGE - 1]["line"]
    found = _with_progress(listing.as_import(row))
    state, mails_left = State(found["state"]), bool(found["mails_left"])
    return visit.page(
        "import.html",
        found=found,
        rows=rows[:_PAGE],
        # The cursor holds the line as if it were an ID.
        next_cursor=cursor_of(UUID(int=next_line)) if next_line else None,
        among=_AMONG if is_searched else None,
        wanted={"outcome": outcomes, "cursor": visit.query.text("cursor", longest=200)},
        outcomes=_OUTCOMES,
        actions=[event for event in _DONE if next_state(state, event, mails_left=mails_left) is not None],
    )


def _with_progress(found: dict[str, Any]) -> dict[str, Any]:
    """Rows with an outcome, of all: the share in percent."""
    done = sum(found["outcomes"].values())
    return found | {"done": done, "percent": 100 * done // found["rows"] if found["rows"] else 0}


async def pause(visit: Visit) -> Response:
    return await _act(visit, "pause")


async def resume(visit: Visit) -> Response:
    return await _act(visit, "resume")


async def cancel(visit: Visit) -> Response:
    return await _act(visit, "cancel")


async def _act(visit: Visit, event: str) -> Response:
    state, import_id = visit.tools.state, visit.id("import_id")
    action = ImportAction(import_id, visit.operator.client, visit.actor, event)
    await apply_action(state.database.pool, action, state.policy.give_up_seconds)
    state.pinger.ping()
    return visit.done(f"{_PATH}/{import_id}", _DONE[event])
