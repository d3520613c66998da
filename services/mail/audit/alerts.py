"""What wakes the mail service's operators, beside its sanity checks: looked at every minute, judged purely."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from shared.audit.alert_loop import AlertCatalog, AlertLoop, Observation, OperatorNotifier
from shared.audit.alert_reports import AlertMetrics
from shared.audit.incidents import Source, Symptom
from shared.audit.operator_mail import AlertNotSentError, OperatorMail
from shared.audit.severity import Severity
from shared.contract.fields import Recipient
from shared.contract.mails import MailRequest
from shared.db.pool import Record
from shared.http.authentication import Principal
from shared.worker.circuit_breaker import BreakerState

from ..intake.accept import Intake, accept
from ..settings import Settings
from . import queries
from .sanity_checks import CHECKS

ALERT_RULES = (
    # A restart takes less than a minute; half an outage is over in five.
    Source("queue_late", hold_seconds=60),
    Source("gateways_down", hold_seconds=300),
    Source("gateway_down", Severity.WARNING, hold_seconds=300),
    Source("uncertain_mails"),
    Source("worker_silent", hold_seconds=60),
    Source("checks_late", Severity.WARNING, hold_seconds=600),
)
# It beats every 5 s.
_SILENT_SECONDS = 60
_CHECKS_LATE_SECONDS = 900
# As history and the ledger name the sender of alerts.
_SENDER = Principal("mail-alerts", "watch", frozenset())


def alert_catalog(settings: Settings) -> AlertCatalog:
    """Raises ValueError when MAIL_CHECK_SEVERITY names what there is not."""
    try:
        return AlertCatalog.of("mail", CHECKS, ALERT_RULES, settings.mail_check_severity)
    except ValueError as error:
        raise ValueError(f"MAIL_CHECK_SEVERITY: {error}") from None


def make_alert_loop(
    settings: Settings, intake: Intake, *, runs_checks: bool, metrics: AlertMetrics | None = None
) -> AlertLoop:
    """Raises ValueError when the settings of alerts cannot be read."""
    pool = intake.database.pool

    async def look() -> Observation:
        row = await pool.fetchrow(queries.ALERT_SYMPTOMS)
        assert row is not None
        signs = list(symptoms_in(row))
        broken = {"queue_late", "gateways_down", "worker_silent"} & {sign.name for sign in signs}
        return Observation(signs, mail_service_is_down=bool(broken))

    async def post(letter: OperatorMail) -> None:
        request = MailRequest(
            request_id=letter.request_id,
            to=Recipient(email=letter.to),
            subject=letter.subject,
            text=letter.text,
            on_uncertain="resend",  # rather twice than never
        )
        (answer,) = await accept(intake, _SENDER, [request])
        if answer.mail is None or answer.mail["state"] == "suppressed":
            raise AlertNotSentError("the ledger did not take it, or the address is suppressed")

    return AlertLoop(
        pool,
        alert_catalog(settings),
        OperatorNotifier(
            settings.alert_email,
            post,
            smtp_url=settings.alert_smtp_url or settings.mail_gateways.split(",")[0].strip(),
            sender=settings.alert_from,
        ),
        look,
        every_seconds=settings.alert_seconds,
        runs_checks=runs_checks,
        metrics=metrics,
    )


def symptoms_in(row: Mapping[str, Any] | Record) -> Iterator[Symptom]:
    """What a row of ALERT_SYMPTOMS says is wrong."""
    if row["late"]:
        yield Symptom(
            "queue_late",
            f"find out why {row['late']} {_mails(row['late'])} in the queue {'waits' if row['late'] == 1 else 'wait'}",
            f"Due for {row['oldest_late_seconds'] / 60:.0f} min, and no worker has taken them.\n"
            'Look: curl "$MAIL_URL/health"; curl "$MAIL_URL/v1/gateways" -H "Authorization: Bearer $OPERATOR_KEY"',
        )
    if row["uncertain"]:
        yield Symptom(
            "uncertain_mails",
            f"resolve {row['uncertain']} uncertain {_mails(row['uncertain'])}",
            f"Nobody knows whether {row['uncertain']} {_mails(row['uncertain'])} arrived, the oldest for "
            f"{row['oldest_uncertain_seconds'] / 60:.0f} min.\n"
            'Look: curl "$MAIL_URL/v1/mails?state=uncertain" -H "Authorization: Bearer $OPERATOR_KEY"\n'
            'Then: curl "$MAIL_URL/v1/mails/ID/resolve" -H "Authorization: Bearer $OPERATOR_KEY" '
            '-H "Content-Type: application/json" -d \'{"as": "sent", "reason": "…"}\'   (or resend, or abandon)',
        )
    yield from _worker_symptoms(row)
    if row["checks_seconds"] is None or row["checks_seconds"] > _CHECKS_LATE_SECONDS:
        yield Symptom("checks_late", "find out why the sanity checks do not run", "They should run every 5 minutes.")


def _worker_symptoms(row: Mapping[str, Any] | Record) -> Iterator[Symptom]:
    age = row["beat_seconds"]
    if age is None or age > _SILENT_SECONDS:
        since = "It has never been heard of" if age is None else f"It was last heard of {age / 60:.0f} min ago"
        yield Symptom("worker_silent", "start the mail worker", f"{since}. Mails are taken and queued, none is sent.")
        return  # what it said last is old
    gateways: list[Mapping[str, Any]] = orjson.loads(row["beat_detail"]).get("gateways", [])
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
