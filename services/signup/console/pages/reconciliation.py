"""Reconciliations: each run with its verdict, what it found and what it repaired; and a new run."""

from typing import Any

import orjson
from starlette.responses import Response

from shared.contract.problems import NotFound
from shared.db.pool import Record
from shared.http.pagination import cursor_of

from ...reconciliation.incomplete import why_incomplete
from ...reconciliation.queries import FIND_RUN, LIST_RUNS
from ...reconciliation.request import fault_of, request_run
from ..forms import wrong
from ..mount import PATH
from ..visit import Visit

_PATH, _PAGE = f"{PATH}/reconciliation", 20
KINDS = {
    "missing": "Handed over, missing there, and not known to have been sent",
    "lost_records": "Known here to have been sent, missing there",
    "unexpected": "In the mail service, but never asked for",
    "different": "In both with different content",
    "stuck": "Overdue in either",
    "unserved_users": "Pending people without a mail",
}


async def show(visit: Visit) -> Response:
    below = visit.query.cursor()
    async with visit.reading() as connection:
        runs = await connection.fetch(LIST_RUNS, below, _PAGE + 1)
    return visit.page(
        "reconciliation.html",
        runs=[_as_run(visit, run) for run in runs[:_PAGE]],
        next_cursor=cursor_of(runs[_PAGE - 1]["id"]) if len(runs) > _PAGE else None,
        wanted={"cursor": visit.query.text("cursor", longest=200)},
        running=any(run["state"] == "running" for run in runs),
    )


async def show_one(visit: Visit) -> Response:
    run_id = visit.id("run_id")
    async with visit.reading() as connection:
        run = await connection.fetchrow(FIND_RUN, run_id)
    if run is None:
        raise NotFound("There is no reconciliation with this ID.")
    return visit.page("reconciliation_run.html", run=_as_run(visit, run), kinds=KINDS)


async def show_findings(visit: Visit) -> Response:
    """Every difference that was ever found, once, by kind, run, and whether it was repaired."""
    kinds, run_id = visit.query.choices("kind", tuple(KINDS)), visit.query.uuid("run_id")
    repaired = visit.query.choice("repaired", ("yes", "no"))
    database = await visit.list_database()
    from ...reconciliation import finding_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    rows = await finding_list.list_findings(
        database,
        kinds=kinds,
        run_ids=[run_id] if run_id else [],
        healed={"yes": True, "no": False}.get(repaired),
        below=visit.query.cursor(),
        limit=_PAGE,
    )
    return visit.page(
        "findings.html",
        findings=rows[:_PAGE],
        next_cursor=cursor_of(rows[_PAGE - 1]["id"]) if len(rows) > _PAGE else None,
        wanted={
            "kind": kinds,
            "run_id": run_id or "",
            "repaired": repaired,
            "cursor": visit.query.text("cursor", longest=200),
        },
        kinds=KINDS,
    )


async def run(visit: Visit) -> Response:
    begins, ends = visit.form.time("from"), visit.form.time("to")
    if fault := fault_of(begins, ends):
        raise wrong("from", fault)
    state = visit.tools.state
    requested = await request_run(
        state.database.pool,
        begins,
        ends,
        lag_seconds=state.reconcile_lag_seconds,
        repair=visit.form.text("repair") == "yes",
        actor=visit.actor,
    )
    return visit.done(f"{_PATH}/{requested['id']}", "The run is requested; the worker begins within a second.")


def _as_run(visit: Visit, row: Record) -> dict[str, Any]:
    incomplete = why_incomplete(row, lag_seconds=visit.tools.settings.reconcile_lag_seconds)
    repaired = orjson.loads(row["repaired"])
    return {
        **row,
        "found": sum(row[kind] for kind in KINDS),
        "repaired": repaired,
        "repaired_total": sum(repaired.values()),
        "examples": orjson.loads(row["examples"]),
        "reason": incomplete.reason if incomplete else "",
    }
