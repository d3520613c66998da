"""The outbox: what waits and what was given up, grouped by effect and reason; row by row; and what to do about it."""

from starlette.responses import Response

from shared.contract.ids import UUID
from shared.http.pagination import cursor_of

from ...outbox import operator_actions
from ...outbox.effect_registry import EFFECTS
from .. import queries
from ..forms import wrong
from ..mount import PATH
from ..search import as_like
from ..visit import Visit

STATES = ("pending", "leased", "dead", "delivered", "canceled")
_PATH, _PAGE = f"{PATH}/outbox", 50
# No index has states and effects together, so rare ones are looked for among so many rows.
_AMONG = 20_000
_REDRIVABLE: tuple[operator_actions.Redrivable, ...] = ("dead", "pending")


async def show(visit: Visit) -> Response:
    states, effects = visit.query.choices("state", STATES), visit.query.choices("effect", tuple(EFFECTS))
    user_id, below = visit.query.uuid("user_id"), visit.query.cursor()
    is_searched = bool(states or effects) and not user_id
    async with visit.reading() as connection:
        groups = await connection.fetch(queries.OUTBOX_GROUPS, list(EFFECTS))
        last = await connection.fetchval(queries.LAST_SETTLED, below, _AMONG) if is_searched else None
    database = await visit.list_database()
    from ...outbox import row_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    filters = row_list.Filters(states, effects, [user_id] if user_id else ())
    rows = await row_list.list_rows(database, filters, before=below, limit=_PAGE, last=last)
    next_id = rows[_PAGE - 1]["id"] if len(rows) > _PAGE else last
    return visit.page(
        "outbox.html",
        groups=[{**group, "like": _like(group["error"])} for group in groups],
        rows=rows[:_PAGE],
        next_cursor=cursor_of(next_id) if next_id else None,
        among=_AMONG if is_searched else None,
        wanted={
            "state": states,
            "effect": effects,
            "user_id": user_id or "",
            "cursor": visit.query.text("cursor", longest=200),
        },
        states=STATES,
        effects=tuple(EFFECTS),
    )


def _like(error: str | None) -> str:
    """A pattern for the rows of a group: IDs, which were left out of its reason, may be any."""
    return "%".join(as_like(part) for part in (error or "").split("%"))


async def show_one(visit: Visit) -> Response:
    row_id = visit.id("row_id")
    row = await operator_actions.find_row((await visit.database()).pool, row_id)
    return visit.page(
        "outbox_row.html", row=row, may_change=row["state"] in {str(s) for s in operator_actions.RETRYABLE}
    )


async def retry(visit: Visit) -> Response:
    state = visit.tools.state
    row_id = visit.id("row_id")
    give_up = state.policy.give_up_seconds
    await operator_actions.retry(state.database.pool, row_id, actor=visit.actor, give_up_seconds=give_up)
    state.pinger.ping()
    return visit.done(_of(row_id), "The row is due now.")


async def cancel(visit: Visit) -> Response:
    row_id = visit.id("row_id")
    await operator_actions.cancel(visit.tools.state.database.pool, row_id, actor=visit.actor)
    return visit.done(_of(row_id), "The row was canceled: its effect is not performed.")


async def redrive(visit: Visit) -> Response:
    """Make a group due now: all rows of a state, an effect and a reason."""
    state = visit.form.required("state")
    redrivable = next((name for name in _REDRIVABLE if name == state), None)
    if redrivable is None:
        raise wrong("state", f"Must be one of {', '.join(_REDRIVABLE)}")
    effect, like = visit.form.choice("effect", tuple(EFFECTS)), visit.form.text("like")
    tools = visit.tools.state
    retried = await operator_actions.redrive(
        tools.database.pool,
        redrivable,
        effects=[effect] if effect else [],
        error_like=like or None,
        actor=visit.actor,
        give_up_seconds=tools.policy.give_up_seconds,
    )
    tools.pinger.ping()
    return visit.done(_PATH, f"Made due now: {retried} {'row' if retried == 1 else 'rows'}.")


def _of(row_id: UUID) -> str:
    return f"{_PATH}/{row_id}"
