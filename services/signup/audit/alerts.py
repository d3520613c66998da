"""Alerts for signup's operators besides its sanity checks: sources read every minute and judged by pure functions."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from shared.audit.alert_loop import AlertCatalog, AlertLoop, Observation, OperatorNotifier
from shared.audit.alert_reports import AlertMetrics
from shared.audit.incidents import AlertRule, Symptom
from shared.audit.severity import Severity
from shared.audit.worker_symptoms import WORKER_RULES, is_silent, worker_symptoms
from shared.db.pool import Pool, Record
from shared.worker.circuit_breaker import BreakerState

from ..outbox.effect_registry import EFFECTS
from ..process_names import WORKER
from ..settings import Settings
from . import queries
from .mail_service_view import MailServiceView, MailServiceViewError
from .sanity_checks import CHECKS

ALERT_RULES = (
    # A restart takes less than a minute; half of all outages end within five.
    AlertRule("outbox_late", hold_seconds=60),
    AlertRule("outbox_dead"),
    AlertRule("webhooks_dead", Severity.WARNING),
    AlertRule("mail_breaker_open", hold_seconds=300),
    AlertRule("effect_breaker_open", Severity.WARNING, hold_seconds=300),
    AlertRule("mail_service_silent", hold_seconds=300),
    *WORKER_RULES,
    AlertRule("out_of_balance"),
    AlertRule("stranger_mails_half_spent", Severity.WARNING),
    AlertRule("stranger_mails_spent"),
)
# The mail worker sends a heartbeat every 5 s.
_MAIL_WORKER_SILENT_SECONDS = 15
_HALF = 0.5
_CLI = ".venv/bin/python -m services.signup"


def alert_catalog(settings: Settings) -> AlertCatalog:
    """Raises ConfigurationError when the setting names an unknown check, alert or severity."""
    return AlertCatalog.of("signup", CHECKS, ALERT_RULES, settings.signup_check_severity)


def make_alert_loop(
    settings: Settings, pool: Pool, mail: MailServiceView, *, runs_checks: bool, metrics: AlertMetrics | None = None
) -> AlertLoop:
    """Raises ConfigurationError as `alert_catalog` does."""

    async def observe() -> Observation:
        row = await pool.fetchrow(queries.ALERT_SYMPTOMS, WORKER, list(EFFECTS))
        assert row is not None
        symptoms = list(symptoms_in(row, mails_per_hour=settings.signup_mails_per_hour))
        try:
            gateways = await mail.gateways()
        except MailServiceViewError as error:
            silent = Symptom(
                "mail_service_silent",
                "start the mail API: it does not answer",
                f"{settings.mail_url}: {error}.\nNothing is lost: signups are accepted, mails go out later.",
            )
            return Observation([*symptoms, silent], mail_service_is_down=True)
        return Observation(symptoms, mail_service_is_down=cannot_send(gateways))

    return AlertLoop(
        pool,
        alert_catalog(settings),
        OperatorNotifier(
            settings.alert_email, mail.send_alert, smtp_url=settings.alert_smtp_url, sender=settings.alert_from
        ),
        observe,
        every_seconds=settings.alert_seconds,
        runs_checks=runs_checks,
        metrics=metrics,
    )


def cannot_send(gateways: Mapping[str, Any] | None) -> bool:
    """Whether no mail can leave the mail service now, judged by its answer to `GET /v1/gateways`; None: an error."""
    if gateways is None:
        return True
    age_seconds = gateways.get("age_seconds")
    if age_seconds is None or age_seconds >= _MAIL_WORKER_SILENT_SECONDS:
        return True
    breakers = [gateway["breaker"] for gateway in gateways["items"]]
    return bool(breakers) and BreakerState.CLOSED not in breakers


def symptoms_in(row: Mapping[str, Any] | Record, *, mails_per_hour: int) -> Iterator[Symptom]:
    """Yields what a row of ALERT_SYMPTOMS shows to be wrong; `mails_per_hour`: SIGNUP_MAILS_PER_HOUR, 0: no limit."""
    if row["late"]:
        yield Symptom(
            "outbox_late",
            f"find out why {row['late']} outbox {_rows(row['late'])} {_wait(row['late'])}",
            f"Due, and not settled for 15 minutes; the oldest for {row['oldest_late_seconds'] / 60:.0f} min.\n"
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
    yield from worker_symptoms(row, worker="signup worker", consequence="Signups are accepted; mails wait.")
    if not is_silent(row):
        yield from _breaker_symptoms(row)
    # Without a limit no mail waits, whatever a limit of before has left in the row.
    if mails_per_hour:
        yield from _stranger_symptoms(row["stranger_mails_spent"])
    if row["unbalanced"]:
        yield Symptom(
            "out_of_balance",
            f"look into {row['unbalanced']} differences between the two ledgers",
            f"The last reconciliation found {row['unbalanced']} that it could not repair.\n"
            'Look: curl "$SIGNUP_URL/audit/reconciliation" -H "Authorization: Bearer $OPERATOR_KEY"',
        )


def _stranger_symptoms(spent: float) -> Iterator[Symptom]:
    """`spent`: how much of SIGNUP_MAILS_PER_HOUR the mails that strangers caused have used up."""
    look = "Look: GET /v1/users?status=pending, and the access log of your proxy"
    if spent >= 1:
        yield Symptom(
            "stranger_mails_spent",
            "find out who signs up strangers: the mails of an hour are used up",
            f"SIGNUP_MAILS_PER_HOUR is used up; mails for new signups wait {(spent - 1) * 60:.0f} min.\n{look}",
        )
    elif spent >= _HALF:
        yield Symptom(
            "stranger_mails_half_spent",
            "watch the signups: half of the mails of an hour are used up",
            f"{spent:.0%} of SIGNUP_MAILS_PER_HOUR is used up by signups without a key.\n{look}",
        )


def _breaker_symptoms(row: Mapping[str, Any] | Record) -> Iterator[Symptom]:
    effects: Mapping[str, Mapping[str, Any]] = orjson.loads(row["beat_detail"]).get("effects", {})
    broken = {name: effect for name, effect in effects.items() if effect["breaker"] != BreakerState.CLOSED}
    if mail := broken.pop("mail", None):
        yield Symptom(
            "mail_breaker_open",
            "make the mail API answer the signup worker again",
            f"The mail API accepts no mails from the signup worker. Last fault: {mail['last_fault']}",
        )
    if broken:
        faults = "\n".join(f"  {name}: {effect['last_fault']}" for name, effect in sorted(broken.items()))
        yield Symptom("effect_breaker_open", f"check effects {', '.join(sorted(broken))}", f"Last faults:\n{faults}")


def _rows(count: int) -> str:
    return "row" if count == 1 else "rows"


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"
