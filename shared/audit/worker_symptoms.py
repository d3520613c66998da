"""What both services' alerts say about a worker: it is silent, or its sanity checks do not run."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..db.pool import Record
from .incidents import AlertRule, Symptom
from .severity import Severity

WORKER_RULES = (
    AlertRule("worker_silent", hold_seconds=60),
    AlertRule("checks_late", Severity.WARNING, hold_seconds=600),
)
# A worker sends a heartbeat every 5 s, and runs the checks every 5 minutes.
_SILENT_SECONDS = 60
_CHECKS_LATE_SECONDS = 900


def is_silent(row: Mapping[str, Any] | Record) -> bool:
    """Whether `beat_seconds` of an ALERT_SYMPTOMS row is too long; the worker's last report is out of date then."""
    return row["beat_seconds"] is None or row["beat_seconds"] > _SILENT_SECONDS


def worker_symptoms(row: Mapping[str, Any] | Record, *, worker: str, consequence: str) -> Iterator[Symptom]:
    """`consequence` is a sentence that says what does not happen meanwhile."""
    if is_silent(row):
        age = row["beat_seconds"]
        since = "It has sent no heartbeat yet" if age is None else f"Its last heartbeat was {age / 60:.0f} min ago"
        yield Symptom("worker_silent", f"start the {worker}", f"{since}. {consequence}")
    if row["checks_seconds"] is None or row["checks_seconds"] > _CHECKS_LATE_SECONDS:
        yield Symptom("checks_late", "find out why the sanity checks do not run", "They should run every 5 minutes.")
