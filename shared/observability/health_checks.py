"""The answer of `/health`: named checks, each pass, warn or fail. The worst one is the overall status."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Status(enum.StrEnum):
    """`pass`: well. `warn`: to be looked at. `fail`: broken."""

    PASS = "pass"  # noqa: S105 - no password
    WARN = "warn"
    FAIL = "fail"


_ORDER = [Status.PASS, Status.WARN, Status.FAIL]


@dataclass(frozen=True)
class Check:
    status: Status
    observed_value: float | str | None = None
    observed_unit: str = ""
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "observed_value": self.observed_value,
            "observed_unit": self.observed_unit,
            "detail": self.detail,
        }


def graded(value: float, unit: str, *, warn_at: float, fail_at: float | None = None, detail: str = "") -> Check:
    """A check on a number where smaller is better."""
    status = Status.PASS
    if value >= warn_at:
        status = Status.WARN
    if fail_at is not None and value >= fail_at:
        status = Status.FAIL
    return Check(status, round(value, 3), unit, detail)


def failing_loops(detail: Mapping[str, Any]) -> dict[str, Check]:
    """The check `loops`: which loops of the worker fail, as its last heartbeat says."""
    failing: Mapping[str, str] = detail.get("failing_loops", {})
    words = "; ".join(f"{loop}: {error}" for loop, error in sorted(failing.items()))
    return {"loops": Check(Status.WARN if failing else Status.PASS, len(failing), "failing", words)}


def report(checks: dict[str, Check]) -> tuple[int, dict[str, Any]]:
    """HTTP status and body: 503 when any check fails, 200 otherwise."""
    worst = max((check.status for check in checks.values()), key=_ORDER.index, default=Status.PASS)
    body = {"status": worst, "checks": {name: check.as_dict() for name, check in checks.items()}}
    return (503 if worst is Status.FAIL else 200), body
