"""The alert loop: looks for faults every minute, keeps the ledger of incidents, and mails the operators.

It runs in the API and in the worker of each service, so that either notices when the other is down. The ledger makes
sure that all of them together open each incident, and send its mails, once.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ..db.pool import Pool
from ..observability.logs import get_logger
from ..worker.loops import keep_running
from .alert_reports import AlertMetrics
from .incidents import AlertRule, Incidents, Notice, Symptom
from .operator_mail import AlertNotSentError, DirectGateway, OperatorMail, Post, alert_request_id, fit
from .sanity_checks import AnyCheck, Checks
from .severity import Severity, read_severities

_log = get_logger(__name__)

# A symptom comes and goes (a breaker probes, a process restarts): it is over after this many runs without it.
_QUIET_RUNS = 3
# The mail service may have accepted a mail whose answer was lost, so it is asked again before SMTP is tried.
_MAIL_SERVICE_ATTEMPTS = 3
_CHECKS_SECONDS = 300.0
# Two runs may be this much closer together: cron times them.
_CHECKS_SLACK_SECONDS = 10.0
RUNBOOK = "docs/operating.md"


@dataclass(frozen=True)
class Observation:
    """What one run saw. `unknown` names what could not be judged; `mail_service_is_down`: no mails go out now."""

    symptoms: Sequence[Symptom] = ()
    unknown: Iterable[str] = ()
    mail_service_is_down: bool = False


@dataclass(frozen=True)
class AlertCatalog:
    """Everything of one service that can be found wrong, with its configured severity."""

    service: str
    checks: Sequence[AnyCheck]
    sources: Mapping[str, AlertRule]

    @classmethod
    def of(
        cls, service: str, checks: Sequence[AnyCheck], sources: Sequence[AlertRule], severities: str
    ) -> "AlertCatalog":
        """`severities` is the setting `…_CHECK_SEVERITY`. Raises ValueError when it names no known check or alert."""
        known = [*sources, *(AlertRule(check.name, check.severity) for check in checks)]
        defaults = {source.name: source.severity for source in known}
        chosen = read_severities(f"{service.upper()}_CHECK_SEVERITY", severities, defaults)
        named = {source.name: AlertRule(source.name, chosen[source.name], source.hold_seconds) for source in known}
        return cls(service, checks, named)

    @property
    def severities(self) -> dict[str, Severity]:
        return {name: source.severity for name, source in self.sources.items()}

    def checks_in(self, pool: Pool) -> Checks:
        return Checks(pool, self.checks, self.severities, actor=f"{self.service}-checks")


class OperatorNotifier:
    """Mails the operators, by the mail service or SMTP. Without ALERT_EMAIL it sends nothing."""

    def __init__(self, emails: str, post: Post, *, smtp_url: str, sender: str) -> None:
        """`emails` is ALERT_EMAIL. Raises ValueError when `smtp_url` is malformed; empty: there is no SMTP fallback."""
        self.addresses = [address for address in emails.split(",") if address]
        self._direct = DirectGateway.of(smtp_url, sender) if smtp_url else None
        self._post = post

    async def notify(self, notice: Notice, *, bypass_mail_service: bool) -> str | None:
        """Send by the first channel that works and return its name; None when all failed. Failures are logged."""
        channels: list[tuple[str, Post]] = [("mail-service", self._post)]
        if self._direct is not None and (bypass_mail_service or notice.attempts >= _MAIL_SERVICE_ATTEMPTS):
            channels.append(("smtp", self._direct.send))
            if bypass_mail_service:
                channels.reverse()
        subject, text = fit(notice.subject, notice.body)
        for via, send in channels:
            try:
                for to in self.addresses:
                    request_id = alert_request_id(notice.alert_id, notice.phase, to)
                    await send(OperatorMail(request_id, to, subject, text))
            except AlertNotSentError as error:
                _log.warning("alert_not_mailed", alert_id=str(notice.alert_id), via=via, error=str(error))
            else:
                return via
        return None


class AlertLoop:
    """A loop (`shared.worker.loops`). `observe` is the service's own."""

    name = "alert_loop"

    def __init__(
        self,
        pool: Pool,
        catalog: AlertCatalog,
        operators: OperatorNotifier,
        observe: Callable[[], Awaitable[Observation]],
        *,
        every_seconds: float,
        runs_checks: bool,
        metrics: AlertMetrics | None = None,
    ) -> None:
        self._pool = pool
        self._catalog = catalog
        self._operators = operators
        self._observe = observe
        self._every_seconds = every_seconds
        self._runs_checks = runs_checks
        self._metrics = metrics
        self._checks = catalog.checks_in(pool)
        self._incidents = Incidents(pool, actor=f"{catalog.service}-alert-loop", mailed=bool(operators.addresses))

    async def run_once(self) -> bool:
        """Run due checks, observe, record incidents, send owed notices."""
        if self._runs_checks:
            await self._checks.run_if_due(_CHECKS_SECONDS - _CHECKS_SLACK_SECONDS)
        seen = await self._observe()
        results = await self._checks.results()
        violated = [result for result in results if result["violations"] > result["fixed"]]
        symptoms = [*seen.symptoms, *map(symptom_of, violated)]
        await self._incidents.record(
            [self._with_links(symptom) for symptom in symptoms],
            self._catalog.sources,
            seen.unknown,
            quiet_seconds=_QUIET_RUNS * self._every_seconds,
        )
        if self._operators.addresses:
            await self._send(bypass_mail_service=seen.mail_service_is_down)
        if self._metrics is not None:
            await self._metrics.refresh(self._pool, results, self._catalog.severities)
        return False

    async def _send(self, *, bypass_mail_service: bool) -> None:
        for notice in await self._incidents.take_due(self._every_seconds):
            via = await self._operators.notify(notice, bypass_mail_service=bypass_mail_service)
            if via is not None:
                await self._incidents.mark_sent(notice, via)
                _log.info("alert_mailed", alert_id=str(notice.alert_id), phase=notice.phase, via=via)

    def _with_links(self, symptom: Symptom) -> Symptom:
        text = (
            f"{symptom.facts.rstrip()}\n\n"
            f"What it means and what to do: {RUNBOOK}#{symptom.name}\n"
            f"All alerts: GET /audit/alerts of the {self._catalog.service} service\n"
        )
        return Symptom(symptom.name, symptom.todo, text)


def symptom_of(result: Mapping[str, Any]) -> Symptom:
    """The symptom for the findings of a check."""
    left = result["violations"] - result["fixed"]
    examples = "\n".join(f"  {example['id']}  {example['what']}" for example in result["examples"])
    return Symptom(
        result["name"],
        f"repair what the check {result['name']} found ({left})",
        f"{result['description']}\n\nFound: {result['violations']}, repaired: {result['fixed']}.\n{examples}",
    )


@asynccontextmanager
async def running_alert_loop(alert_loop: AlertLoop, every_seconds: float) -> AsyncIterator[None]:
    """Run the loop beside an API. The first run comes after a pause: an API connects when first needed."""
    stop, wake = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        await asyncio.sleep(every_seconds)
        await keep_running(alert_loop, wake=wake, stop=stop, poll_seconds=every_seconds)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        # Cancel at any point: the next run, in any process, redoes what is half done.
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
