"""What wakes the mail service's operators, beside its sanity checks: looked at every minute, judged purely."""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from shared.alert_mail import AlertNotSentError, Letter
from shared.alert_metrics import AlertMetrics
from shared.alerts import Look, Operators, Register, Watch
from shared.auth import Principal
from shared.breaker import BreakerState
from shared.contract import MailRequest, Recipient
from shared.database import Record
from shared.incidents import Sign, Source
from shared.severity import Severity

from ..intake.accept import Intake, accept
from ..settings import Settings
from . import queries
from .sanity import CHECKS

SOURCES = (
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
# As history and the book name the sender of alerts.
_SENDER = Principal("mail-alerts", "watch", frozenset())


def register_of(settings: Settings) -> Register:
    """Raises ValueError when MAIL_CHECK_SEVERITY names what there is not."""
    try:
        return Register.of("mail", CHECKS, SOURCES, settings.mail_check_severity)
    except ValueError as error:
        raise ValueError(f"MAIL_CHECK_SEVERITY: {error}") from None


def make_watch(settings: Settings, intake: Intake, *, runs_checks: bool, metrics: AlertMetrics | None = None) -> Watch:
    """Raises ValueError when the settings of alerts cannot be read."""
    pool = intake.database.pool

    async def look() -> Look:
        row = await pool.fetchrow(queries.ALERT_SIGNS)
        assert row is not None
        signs = list(signs_in(row))
        broken = {"queue_late", "gateways_down", "worker_silent"} & {sign.name for sign in signs}
        return Look(signs, mail_is_broken=bool(broken))

    async def post(letter: Letter) -> None:
        request = MailRequest(
            request_id=letter.request_id,
            to=Recipient(email=letter.to),
            subject=letter.subject,
            text=letter.text,
            on_uncertain="resend",  # rather twice than never
        )
        (answer,) = await accept(intake, _SENDER, [request])
        if answer.mail is None or answer.mail["state"] == "suppressed":
            raise AlertNotSentError("the book did not take it, or the address is suppressed")

    return Watch(
        pool,
        register_of(settings),
        Operators(settings, post, fallback_smtp_url=settings.mail_gateways.split(",")[0].strip()),
        look,
        every_seconds=settings.alert_seconds,
        runs_checks=runs_checks,
        metrics=metrics,
    )


def signs_in(row: Mapping[str, Any] | Record) -> Iterator[Sign]:
    """What a row of ALERT_SIGNS says is wrong."""
    if row["late"]:
        yield Sign(
            "queue_late",
            f"find out why {row['late']} {_mails(row['late'])} in the queue {'waits' if row['late'] == 1 else 'wait'}",
            f"Due for {row['oldest_late_seconds'] / 60:.0f} min, and no worker has taken them.\n"
            'Look: curl "$MAIL_URL/health"; curl "$MAIL_URL/v1/gateways" -H "Authorization: Bearer $OPERATOR_KEY"',
        )
    if row["uncertain"]:
        yield Sign(
            "uncertain_mails",
            f"resolve {row['uncertain']} uncertain {_mails(row['uncertain'])}",
            f"Nobody knows whether {row['uncertain']} {_mails(row['uncertain'])} arrived, the oldest for "
            f"{row['oldest_uncertain_seconds'] / 60:.0f} min.\n"
            'Look: curl "$MAIL_URL/v1/mails?state=uncertain" -H "Authorization: Bearer $OPERATOR_KEY"\n'
            'Then: curl "$MAIL_URL/v1/mails/ID/resolve" -H "Authorization: Bearer $OPERATOR_KEY" '
            '-H "Content-Type: application/json" -d \'{"as": "sent", "reason": "…"}\'   (or resend, or abandon)',
        )
    yield from _worker_signs(row)
    if row["checks_seconds"] is None or row["checks_seconds"] > _CHECKS_LATE_SECONDS:
        yield Sign("checks_late", "find out why the sanity checks do not run", "They should run every 5 minutes.")


def _worker_signs(row: Mapping[str, Any] | Record) -> Iterator[Sign]:
    age = row["beat_seconds"]
    if age is None or age > _SILENT_SECONDS:
        since = "It has never been heard of" if age is None else f"It was last heard of {age / 60:.0f} min ago"
        yield Sign("worker_silent", "start the mail worker", f"{since}. Mails are taken and queued, none is sent.")
        return  # what it said last is old
    gateways: list[Mapping[str, Any]] = orjson.loads(row["beat_detail"]).get("gateways", [])
    down = [gateway for gateway in gateways if gateway["breaker"] != BreakerState.CLOSED]
    if down:
        faults = "\n".join(f"  {gateway['name']}: {gateway['last_fault']}" for gateway in down)
        names = ", ".join(str(gateway["name"]) for gateway in down)
        yield Sign(
            "gateways_down" if len(down) == len(gateways) else "gateway_down",
            f"get the {'gateway' if len(down) == 1 else 'gateways'} {names} to take mails again",
            f"Last faults:\n{faults}\nNo mail is lost and no attempt is counted meanwhile.",
        )


def _mails(count: int) -> str:
    return "mail" if count == 1 else "mails"
