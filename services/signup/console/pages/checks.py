"""Sanity checks and alerts of both services, running the checks now, and the runbook that alerts lead to."""

from starlette.responses import Response

from shared.audit.incidents import list_alerts
from shared.contract.problems import NotFound

from ..mount import PATH
from ..runbook import Runbook
from ..visit import Half, Visit

# All checks of a service, each of which may take seconds.
_RUN_SECONDS = 60.0
_MOST_CLOSED = 50


async def show(visit: Visit) -> Response:
    database = await visit.database()
    own_checks = Half({"items": await visit.tools.catalog.checks_in(database.pool).results()})
    own_alerts = Half({"items": await list_alerts(database.pool)})
    mail_checks = await visit.mail_half("/audit/checks")
    mail_alerts = await visit.mail_half("/audit/alerts")
    halves = (("signup", own_checks, own_alerts), ("mail", mail_checks, mail_alerts))
    return visit.page(
        "checks.html",
        checks=[(service, checks) for service, checks, _ in halves],
        alerts=[(service, _shortened(alerts)) for service, _, alerts in halves],
        runbook=Runbook.load(),
    )


def _shortened(alerts: Half) -> Half:
    """All open ones, and the newest that are over."""
    if alerts.fault:
        return alerts
    over = [alert for alert in alerts.found["items"] if alert["closed_at"]]
    return Half({"items": [a for a in alerts.found["items"] if not a["closed_at"]] + over[:_MOST_CLOSED]})


async def run(visit: Visit) -> Response:
    """Run the checks of one service. Each that repairs says so in history."""
    service = visit.form.choice("service", ("signup", "mail")) or visit.form.required("service")
    if service == "mail":
        await visit.ask_mail("POST", "/audit/checks/run", seconds=_RUN_SECONDS)
    else:
        await visit.tools.catalog.checks_in(visit.tools.state.database.pool).run_for(visit.actor)
    return visit.done(f"{PATH}/checks", f"All checks of the {service} service have run.")


async def show_runbook(visit: Visit) -> Response:
    """What an alert or a check means, and what to do."""
    name: str = visit.request.path_params["name"]
    section = Runbook.load().section(name)
    if section is None:
        raise NotFound("The runbook has no section of this name.")
    return visit.page("runbook.html", name=name, section=section)
