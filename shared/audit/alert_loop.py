"""The alert_loop: looks every minute at what could be wrong, keeps the ledger of incidents, and mails the operators.

It runs in the API and in the worker of each service: whichever lives sees that the other does not, and the ledger makes
sure that all of them together open an incident, and send its mails, once.
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
from .incidents import Incidents, Notice, Source, Symptom
from .operator_mail import AlertNotSentError, DirectGateway, OperatorMail, Post, alert_request_id
from .sanity_checks import Checks, SanityCheck
from .severity import Severity, read_severities

_log = get_logger(__name__)

# A sign comes and goes (a breaker probes, a process restarts): over is what was not seen in this many looks.
_QUIET_LOOKS = 3
# The mail service may have taken a mail whose answer was lost, so it is asked again before the other way is tried.
_PATIENCE_ATTEMPTS = 3
_CHECKS_SECONDS = 300.0
# Two runs may come this much closer than that: their clocks are cron's.
_CHECKS_SLACK_SECONDS = 10.0
RUNBOOK = "docs/operating.md"


@dataclass(frozen=True)
class Observation:
    """What one look saw. `unknown` are names that could not be judged; `mail_service_is_down`: mails do not go out now."""

    signs: Sequence[Symptom] = ()
    unknown: Iterable[str] = ()
    mail_service_is_down: bool = False


@dataclass(frozen=True)
class AlertCatalog:
    """Everything of one service that can be found wrong, with the severity that its settings give it."""

    service: str
    checks: Sequence[SanityCheck]
    sources: Mapping[str, Source]

    @classmethod
    def of(
        cls, service: str, checks: Sequence[SanityCheck], sources: Sequence[Source], severities: str
    ) -> "AlertCatalog":
        """Raises ValueError when `severities` names what there is not."""
        known = [*sources, *(Source(check.name, check.severity) for check in checks)]
        chosen = read_severities(severities, {source.name: source.severity for source in known})
        named = {source.name: Source(source.name, chosen[source.name], source.hold_seconds) for source in known}
        return cls(service, checks, named)

    @property
    def severities(self) -> dict[str, Severity]:
        return {name: source.severity for name, source in self.sources.items()}

    def checks_in(self, pool: Pool) -> Checks:
        return Checks(pool, self.checks, self.severities, actor=f"{self.service}-checks")


class OperatorNotifier:
    """Who is mailed, and by which ways. Nobody when ALERT_EMAIL is empty."""

    def __init__(self, emails: str, post: Post, *, smtp_url: str, sender: str) -> None:
        """`emails` is ALERT_EMAIL. Raises ValueError when `smtp_url` cannot be read; empty: there is no second way."""
        self.addresses = [address for address in emails.split(",") if address]
        self._direct = DirectGateway.of(smtp_url, sender) if smtp_url else None
        self._post = post

    async def notify(self, notice: Notice, *, bypass_mail_service: bool) -> str | None:
        """By which way it went out; None: not at all, and it is logged why."""
        ways: list[tuple[str, Post]] = [("mail-service", self._post)]
        if self._direct is not None and (bypass_mail_service or notice.attempts >= _PATIENCE_ATTEMPTS):
            ways.append(("smtp", self._direct.send))
            if bypass_mail_service:
                ways.reverse()
        for via, send in ways:
            try:
                for to in self.addresses:
                    request_id = alert_request_id(notice.alert_id, notice.phase, to)
                    await send(OperatorMail(request_id, to, notice.subject, notice.body))
            except AlertNotSentError as error:
                _log.warning("alert_not_mailed", alert_id=str(notice.alert_id), via=via, error=str(error))
            else:
                return via
        return None


class AlertLoop:
    """A loop (`shared.worker.loops`). `look` is the service's own."""

    name = "watch"

    def __init__(
        self,
        pool: Pool,
        register: AlertCatalog,
        operators: OperatorNotifier,
        look: Callable[[], Awaitable[Observation]],
        *,
        every_seconds: float,
        runs_checks: bool,
        metrics: AlertMetrics | None = None,
    ) -> None:
        self._pool = pool
        self._register = register
        self._operators = operators
        self._look = look
        self._every_seconds = every_seconds
        self._runs_checks = runs_checks
        self._metrics = metrics
        self._checks = register.checks_in(pool)
        self._incidents = Incidents(pool, actor=f"{register.service}-watch", mailed=bool(operators.addresses))
        self.looks = 0

    async def run_once(self) -> bool:
        """Run the checks when they are due, look, keep the ledger, send what is owed."""
        if self._runs_checks:
            await self._checks.run_if_due(_CHECKS_SECONDS - _CHECKS_SLACK_SECONDS)
        seen = await self._look()
        results = await self._checks.results()
        violated = [result for result in results if result["violations"] > result["fixed"]]
        signs = [*seen.signs, *map(symptom_of, violated)]
        await self._incidents.record(
            [self._signed(sign) for sign in signs],
            self._register.sources,
            seen.unknown,
            quiet_seconds=_QUIET_LOOKS * self._every_seconds,
        )
        if self._operators.addresses:
            await self._send(bypass_mail_service=seen.mail_service_is_down)
        if self._metrics is not None:
            await self._metrics.refresh(self._pool, results, self._register.severities)
        self.looks += 1
        return False

    async def _send(self, *, bypass_mail_service: bool) -> None:
        for notice in await self._incidents.take_due(self._every_seconds):
            via = await self._operators.notify(notice, bypass_mail_service=bypass_mail_service)
            if via is not None:
                await self._incidents.mark_sent(notice, via)
                _log.info("alert_mailed", alert_id=str(notice.alert_id), phase=notice.phase, via=via)

    def _signed(self, sign: Symptom) -> Symptom:
        text = (
            f"{sign.facts.rstrip()}\n\n"
            f"What it means and what to do: {RUNBOOK}#{sign.name}\n"
            f"All alerts: GET /audit/alerts of the {self._register.service} service\n"
        )
        return Symptom(sign.name, sign.todo, text)


def symptom_of(result: Mapping[str, Any]) -> Symptom:
    """A check's finding as a sign."""
    left = result["violations"] - result["fixed"]
    examples = "\n".join(f"  {example['id']}  {example['what']}" for example in result["examples"])
    return Symptom(
        result["name"],
        f"mend {left} {'row' if left == 1 else 'rows'} found by the check {result['name']}",
        f"{result['description']}\n\nFound: {result['violations']}, mended: {result['fixed']}.\n{examples}",
    )


@asynccontextmanager
async def running_alert_loop(alert_loop: AlertLoop, every_seconds: float) -> AsyncIterator[None]:
    """Beside an API. The first look comes after a pause: an API connects when it is first needed."""
    stop, wake = asyncio.Event(), asyncio.Event()

    async def run() -> None:
        await asyncio.sleep(every_seconds)
        await keep_running(alert_loop, wake=wake, stop=stop, poll_seconds=every_seconds)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        # Wherever it is: what is half done is done again, by whoever looks next.
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
