"""What wakes signup's operators, beside its sanity checks: each source looked at every minute, judged purely."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from shared.audit.alert_loop import AlertCatalog, AlertLoop, Observation, OperatorNotifier
from shared.audit.alert_reports import AlertMetrics
from shared.audit.incidents import Source, Symptom
from shared.audit.severity import Severity
from shared.db.pool import Pool, Record
from shared.observability.health import Status
from shared.worker.circuit_breaker import BreakerState

from ..errors import ConfigurationError
from ..names import WORKER
from ..settings import Settings
from . import queries
from .mail_service_view import MailServiceView, MailServiceViewError
from .sanity_checks import CHECKS

ALERT_RULES = (
    # A restart takes less than a minute; half an outage is over in five.
    Source("outbox_late", hold_seconds=60),
    Source("outbox_dead"),
    Source("webhooks_dead", Severity.WARNING),
    Source("mail_breaker_open", hold_seconds=300),
    Source("effect_breaker_open", Severity.WARNING, hold_seconds=300),
    Source("mail_service_silent", hold_seconds=300),
    Source("worker_silent", hold_seconds=60),
    Source("checks_late", Severity.WARNING, hold_seconds=600),
    Source("out_of_balance"),
)
# It beats every 5 s.
_SILENT_SECONDS = 60
_CHECKS_LATE_SECONDS = 900
_CLI = ".venv/bin/python -m services.signup"


def alert_catalog(settings: Settings) -> AlertCatalog:
    """Raises ConfigurationError when SIGNUP_CHECK_SEVERITY names what there is not."""
    try:
        return AlertCatalog.of("signup", CHECKS, ALERT_RULES, settings.signup_check_severity)
    except ValueError as error:
        raise ConfigurationError(f"SIGNUP_CHECK_SEVERITY: {error}") from None


def make_alert_loop(
    settings: Settings, pool: Pool, mail: MailServiceView, *, runs_checks: bool, metrics: AlertMetrics | None = None
) -> AlertLoop:
    """Raises ConfigurationError when SIGNUP_CHECK_SEVERITY names what there is not."""

    async def look() -> Observation:
        row = await pool.fetchrow(queries.ALERT_SYMPTOMS, WORKER)
        assert row is not None
        try:
            health = await mail.health()
        except MailServiceViewError as error:
            silent = Symptom(
                "mail_service_silent",
                "start the mail API, it does not answer",
                f"{settings.mail_url}/health: {error}.\nNothing is lost: signups are taken, mails go out afterwards.",
            )
            return Observation([*symptoms_in(row), silent], mail_service_is_down=True)
        return Observation(list(symptoms_in(row)), mail_service_is_down=cannot_send(health))

    return AlertLoop(
        pool,
        alert_catalog(settings),
        OperatorNotifier(
            settings.alert_email, mail.send_alert, smtp_url=settings.alert_smtp_url, sender=settings.alert_from
        ),
        look,
        every_seconds=settings.alert_seconds,
        runs_checks=runs_checks,
        metrics=metrics,
    )


def cannot_send(health: Mapping[str, Any]) -> bool:
    """Whether the mail service says of itself that no mail leaves it now."""
    checks: Mapping[str, Mapping[str, Any]] = health.get("checks", {})
    worker = checks.get("worker_heartbeat", {}).get("status")
    gateways = [check.get("status") for name, check in checks.items() if name.startswith("gateway:")]
    return worker != Status.PASS or (bool(gateways) and Status.PASS not in gateways)


def symptoms_in(row: Mapping[str, Any] | Record) -> Iterator[Symptom]:
    """What a row of ALERT_SYMPTOMS says is wrong."""
    if row["late"]:
        yield Symptom(
            "outbox_late",
            f"find out why {row['late']} outbox {_rows(row['late'])} {_wait(row['late'])}",
            f"Due, and not worked off for 15 minutes; the oldest is {row['oldest_late_seconds'] / 60:.0f} min old.\n"
            f"Look: {_CLI} outbox list --state pending",
        )
    for name, dead, what in (
        ("outbox_dead", row["dead"], "outbox"),
        ("webhooks_dead", row["dead_webhooks"], "webhook"),
    ):
        if dead:
            yield Symptom(
                name,
                f"retry or cancel {dead} dead {what} {_rows(dead)}",
                f"Refused for good, or given up: {dead}.\n"
                f"Look: {_CLI} outbox list --state dead\nThen: {_CLI} outbox redrive --state dead",
            )
    yield from _worker_symptoms(row)
    if row["checks_seconds"] is None or row["checks_seconds"] > _CHECKS_LATE_SECONDS:
        yield Symptom("checks_late", "find out why the sanity checks do not run", "They should run every 5 minutes.")
    if row["unbalanced"]:
        yield Symptom(
            "out_of_balance",
            f"look into {row['unbalanced']} differences between the two ledgers",
            f"The last reconciliation found {row['unbalanced']} that it could not repair.\n"
            'Look: curl "$SIGNUP_URL/audit/reconciliation" -H "Authorization: Bearer $OPERATOR_KEY"',
        )


def _worker_symptoms(row: Mapping[str, Any] | Record) -> Iterator[Symptom]:
    age = row["beat_seconds"]
    if age is None or age > _SILENT_SECONDS:
        since = "It has never been heard of" if age is None else f"It was last heard of {age / 60:.0f} min ago"
        yield Symptom("worker_silent", "start the signup worker", f"{since}. Signups are taken, mails wait.")
        return  # what it said last is old
    effects: Mapping[str, Mapping[str, Any]] = orjson.loads(row["beat_detail"]).get("effects", {})
    broken = {name: effect for name, effect in effects.items() if effect["breaker"] != BreakerState.CLOSED}
    if mail := broken.pop("mail", None):
        yield Symptom(
            "mail_breaker_open",
            "get the mail API to answer signup again",
            f"Signup's worker gets no mails accepted. Last fault: {mail['last_fault']}",
        )
    if broken:
        faults = "\n".join(f"  {name}: {effect['last_fault']}" for name, effect in sorted(broken.items()))
        yield Symptom("effect_breaker_open", f"look after {', '.join(sorted(broken))}", f"Last faults:\n{faults}")


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"
