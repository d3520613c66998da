"""Trace spans of outbox rows: each row has its own span, from claim to settlement.

The span is a child of the request that owes the row, so one trace follows a signup, whichever batch its rows were in.
"""

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from shared.contract.ids import UUID
from shared.observability.spans import Kind, Span, Tracing, message_attributes

from .events import Event
from .retry_policy import ClaimedRow

# The error type of each settlement that is not a success.
_ERRORS = {"retried": "try_later", "dead": "refused", "released": "peer_fault"}


class RowSpans:
    """The spans of one batch, as a context manager: a row that is not settled inside it was interrupted.

    `entries` are the rows with the context of their span, so that calls for a row become its children.
    """

    def __init__(self, tracing: Tracing, effect: str, entries: Sequence[ClaimedRow], *, seconds_ago: float) -> None:
        self.entries = entries
        self._open: dict[UUID, Span] = {}
        if tracing.on:
            self._open = {entry.id: _begin(tracing, effect, entry, seconds_ago) for entry in entries}
            self.entries = [replace(entry, traceparent=self._open[entry.id].traceparent) for entry in entries]

    def __enter__(self) -> Self:
        return self

    def end(self, ids: Sequence[UUID], settled: str) -> None:
        if self._open:
            for key in ids:
                self._open.pop(key).end({"counterfoil.outcome": settled}, error=_ERRORS.get(settled.partition(",")[0]))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for span in self._open.values():
            span.end({"counterfoil.outcome": "interrupted"}, error=kind.__name__ if kind else "interrupted")


def _begin(tracing: Tracing, effect: str, entry: ClaimedRow, seconds_ago: float) -> Span:
    queue = f"outbox.{effect}"
    attributes = message_attributes("relay", "process", queue, entry.id) | {"counterfoil.attempt": entry.attempts + 1}
    # An import owes as many rows as it has lines. Below its one request they would make a trace too large to display.
    own_trace = entry.payload.get("lane") == "bulk" or entry.payload.get("event") == Event.IMPORTED
    return tracing.begin(
        f"relay {queue}",
        Kind.CONSUMER,
        parent=None if own_trace else entry.traceparent,
        links=[entry.traceparent],
        attributes=attributes,
        seconds_ago=seconds_ago,
    )
