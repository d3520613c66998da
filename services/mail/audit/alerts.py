"""Alerts of the mail service, besides its sanity checks. Symptoms are read every minute and judged without I/O."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from shared.audit.alert_loop import AlertCatalog, AlertLoop, Observation, OperatorNotifier
from shared.audit.alert_reports import AlertMetrics
from shared.audit.incidents import AlertRule, Symptom
from shared.audit.operator_mail import AlertNotSentError, OperatorMail
from shared.audit.severity import Severity
from shared.audit.worker_symptoms import WORKER_RULES, is_silent, worker_symptoms
from shared.contract.fields import Recipient
from shared.contract.mails import MailRequest
from shared.contract.principals import Principal
from shared.db.pool import Record
from shared.worker.circuit_breaker import BreakerState

from ..intake.accept import Intake, accept
from ..ledger.change_feed import FeedLag, read_lag
from ..settings import Settings
from . import queries
from .refusal_symptoms import NO_REFUSALS, REFUSAL_RULES, Refusals, refusal_symptoms, refusals_in
from .sanity_checks import CHECKS
from .sender_dns import sender_dns_check

ALERT_RULES = (
    # A restart takes less than a minute; half of all outages end within five.
    AlertRule("queue_late", hold_seconds=60),
    AlertRule("gateways_down", hold_seconds=300),
    AlertRule("gateway_down", Severity.WARNING, hold_seconds=300),
    AlertRule("uncertain_mails"),
    AlertRule("webhooks_dead", Severity.WARNING),
    # Seen by two runs: a batch job of another database may write for as long as the limit.
    AlertRule("feed_held_back", Severity.WARNING, hold_seconds=20),
    *REFUSAL_RULES,
    *WORKER_RULES,
)
# Alerts about these go directly to the operators' own server.
_MAILS_DO_NOT_LEAVE = frozenset(["queue_late", "gateways_down", "gateway_refuses_everyone", "worker_silent"])
# The sender of alerts in history and in the ledger.
_SENDER = Principal("mail-alerts", "alert-loop", frozenset())


def alert_catalog(settings: Settings) -> AlertCatalog:
    """Raises ConfigurationError when the setting names an unknown check, alert or severity."""
    checks = (*CHECKS, sender_dns_check(settings))
    return AlertCatalog.of("mail", checks, ALERT_RULES, settings.mail_check_severity)


def make_alert_loop(
    settings: Settings, intake: Intake, *, runs_checks: bool, metrics: AlertMetrics | None = None
) -> AlertLoop:
    """Raises ValueError when an alert setting is invalid."""
    pool = intake.database.pool

    async def observe() -> Observation:
        row = await pool.fetchrow(queries.ALERT_SYMPTOMS)
        assert row is not None
        refusals = refusals_in(await pool.fetch(queries.GATEWAY_RECIPIENTS))
        symptoms = [*symptoms_in(row, refusals), *refusal_symptoms(refusals), *feed_symptoms(await read_lag(pool))]
        broken = _MAILS_DO_NOT_LEAVE & {symptom.name for symptom in symptoms}
        return Observation(symptoms, mail_service_is_down=bool(broken))

    async def post(mail: OperatorMail) -> None:
        request = MailRequest(
            request_id=mail.request_id,
            to=Recipient(email=mail.to),
            subject=mail.subject,
            text=mail.text,
            on_uncertain="resend",  # twice is better than never
        )
        (accepted,) = await accept(intake, _SENDER, [request])
        if accepted.mail is None or accepted.mail["state"] == "suppressed":
            raise AlertNotSentError("the mail was rejected, or its address is suppressed")

    return AlertLoop(
        pool,
        alert_catalog(settings),
        OperatorNotifier(
            settings.alert_email,
            post,
            smtp_url=settings.alert_smtp_url or settings.mail_gateways.split(",")[0].strip(),
            sender=settings.alert_from,
        ),
        observe,
        every_seconds=settings.alert_seconds,
        runs_checks=runs_checks,
        metrics=metrics,
    )


def symptoms_in(row: Mapping[str, Any] | Record, refusals: Refusals = NO_REFUSALS) -> Iterator[Symptom]:
    """The symptoms in a row of ALERT_SYMPTOMS. A gateway that refuses everyone has an alert of its own."""
    if row["late"]:
        yield Symptom(
            "queue_late",
            f"find out why {row['late']} {_mails(row['late'])} in the queue {'waits' if row['late'] == 1 else 'wait'}",
            f"The oldest has been due for {row['oldest_late_seconds'] / 60:.0f} min, and no worker has claimed it.\n"
            'Look: curl "$MAIL_URL/v1/gateways" -H "Authorization: Bearer $OPERATOR_KEY"\n'
            'And: curl "$MAIL_URL/health" -H "Authorization: Bearer $OPERATOR_KEY"',
        )
    if row["uncertain"]:
        yield Symptom(
            "uncertain_mails",
            f"resolve {row['uncertain']} uncertain {_mails(row['uncertain'])}",
            f"It is unknown whether {row['uncertain']} {_mails(row['uncertain'])} arrived. Uncertain for up to "
            f"{row['oldest_uncertain_seconds'] / 60:.0f} min.\n"
            'Look: curl "$MAIL_URL/v1/mails?state=uncertain" -H "Authorization: Bearer $OPERATOR_KEY"\n'
            'Then: curl "$MAIL_URL/v1/mails/ID/resolve" -H "Authorization: Bearer $OPERATOR_KEY" '
            '-H "Content-Type: application/json" -d \'{"as": "sent", "reason": "…"}\'   (or resend, or abandon)',
        )
    if row["dead_webhooks"]:
        dead = f"{row['dead_webhooks']} webhook {'delivery' if row['dead_webhooks'] == 1 else 'deliveries'}"
        yield Symptom(
            "webhooks_dead",
            f"tell the subscribers' owners about {dead} given up",
            f"Given up in the last day, after MAIL_WEBHOOK_GIVE_UP_SECONDS of refusals or silence: {dead}.\n"
            "Which subscribers, and why: docs/operating.md#webhooks_dead\n"
            "Then their owner: POST /v1/webhooks/ID/replay",
        )
    yield from worker_symptoms(row, worker="mail worker", consequence="Mails are accepted, but none is sent.")
    if not is_silent(row):
        yield from _gateway_symptoms(row, refusals)


def feed_symptoms(lag: FeedLag) -> Iterator[Symptom]:
    if lag.is_late:
        holder = lag.holder or "a transaction that has just ended"
        yield Symptom(
            "feed_held_back",
            f"end {holder}",
            f"The change feed does not go past {holder}.\n"
            f"The oldest change that GET /v1/changes does not show is {lag.seconds:.0f} s old.",
        )


def _gateway_symptoms(row: Mapping[str, Any] | Record, refusals: Refusals) -> Iterator[Symptom]:
    gateways: list[Mapping[str, Any]] = orjson.loads(row["beat_detail"]).get("gateways", [])
    gateways = [gateway for gateway in gateways if gateway["name"] not in refusals.everyone]
    down = [gateway for gateway in gateways if gateway["breaker"] != BreakerState.CLOSED]
    if down:
        faults = "\n".join(f"  {gateway['name']}: {gateway['last_fault']}" for gateway in down)
        names = ", ".join(str(gateway["name"]) for gateway in down)
        yield Symptom(
            "gateways_down" if len(down) == len(gateways) else "gateway_down",
            f"get the {'gateway' if len(down) == 1 else 'gateways'} {names} to take mails again",
            f"Last faults:\n{faults}\nNo mail is lost and no attempt is counted meanwhile.",
        )


def _mails(count: int) -> str:
    return "mail" if count == 1 else "mails"
