"""The first page: the way of the data as a picture, the verdict of both ledgers, and what is wrong now."""

from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import Response

from shared.audit.incidents import OPEN_ALERTS
from shared.db.pool import Record

from ...reconciliation.incomplete import why_incomplete
from ...reconciliation.queries import LIST_RUNS
from ..picture import one_below_the_other, side_by_side
from ..stages import boxes_of, rows_of
from ..visit import Half, Visit

_RUNS = 5
FOUND = ("missing", "lost_records", "unexpected", "different", "stuck", "unserved_users")


async def show(visit: Visit) -> Response:
    database = await visit.database()
    flow = await visit.tools.flow.read(database.pool)
    async with visit.reading() as connection:
        runs = await connection.fetch(LIST_RUNS, None, _RUNS)
        own_alerts = await connection.fetch(OPEN_ALERTS)
    mail_flow = await visit.mail_half("/audit/flow")
    gateways = await visit.mail_half("/v1/gateways")
    mail_alerts = await visit.mail_half("/audit/alerts")
    boxes = boxes_of(flow, mail_flow.found, gateways.found)
    return visit.page(
        "overview.html",
        flow=flow,
        mail_flow=mail_flow,
        wide=side_by_side(boxes),
        tall=one_below_the_other(boxes),
        stages=rows_of(flow, mail_flow.found, gateways.found),
        verdict=_verdict(runs, visit.tools.settings.reconcile_lag_seconds),
        alerts=_alerts(own_alerts, mail_alerts),
        alerts_fault=mail_alerts.fault,
    )


def _verdict(runs: Sequence[Record], lag_seconds: float) -> dict[str, Any]:
    """The last run that ended; and whether one is running."""
    ended = next((run for run in runs if run["finished_at"] is not None), None)
    if ended is None:
        return {"run": None, "running": bool(runs), "reason": "", "found": 0}
    incomplete = why_incomplete(ended, lag_seconds=lag_seconds)
    return {
        "run": ended,
        "running": runs[0]["finished_at"] is None,
        "reason": incomplete.reason if incomplete else "",
        "found": sum(ended[kind] for kind in FOUND),
    }


def _alerts(own: Sequence[Record], mail: Half) -> list[Mapping[str, Any]]:
    """Open ones of both services, red ones first."""
    found = [{**alert, "service": "signup"} for alert in own]
    if mail.found:
        found += [{**alert, "service": "mail"} for alert in mail.found["items"] if alert["closed_at"] is None]
    return sorted(found, key=lambda alert: (alert["severity"] != "red", alert["name"]))
