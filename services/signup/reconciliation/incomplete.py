"""Says why a reconciliation compared nothing, for operators. Pure: reads nothing."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol


class Row(Protocol):
    """A run as the database returns it."""

    def __getitem__(self, name: str, /) -> Any: ...


@dataclass(frozen=True, slots=True)
class Incomplete:
    """`is_early`: nothing is wrong, the ledgers have nothing to compare yet."""

    reason: str
    is_early: bool = False


def why_incomplete(run: Row, *, lag_seconds: float) -> Incomplete | None:
    """The reason of an ended run's verdict `incomplete`; None for every other run.

    `first_mail_at` is when the oldest mail of this ledger was requested.
    """
    if run["state"] == "running" or run["verdict"] != "incomplete":
        return None
    if run["state"] == "failed":
        return Incomplete(f"The run could not finish: {run['last_error']}")
    first = run["first_mail_at"]
    if first is None:
        return Incomplete("No mail has been requested yet, so there is nothing to compare", is_early=True)
    comparable_at = first + timedelta(seconds=lag_seconds)
    if comparable_at > run["started_at"]:
        return Incomplete(
            f"No mail was old enough: a mail is compared once it is {lag_seconds:g} s old (RECONCILE_LAG_SECONDS). "
            f"The first one can be compared from {_shown(comparable_at)} on",
            is_early=True,
        )
    if run["window_from"] >= run["window_to"]:
        return Incomplete(
            f"The requested window is empty: a window ends {lag_seconds:g} s ago at the latest and begins with the "
            "oldest kept records"
        )
    return Incomplete(f"No mail was requested from {_shown(run['window_from'])} to {_shown(run['window_to'])}")


def _shown(time: datetime) -> str:
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
