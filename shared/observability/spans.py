"""Spans, as OpenTelemetry calls them: what a trace shows of a request, an outbox row, a mail and an attempt.

Off unless configured: what knows the SDK is in `otlp`, and imported only when spans have somewhere to go (ADR 0012).
A span holds IDs of ours, names from the code, counts and codes; never an address, a name, a subject, the path of a
request as it was asked for, or anybody's words.
"""

import enum
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar, TypeAlias

Attributes: TypeAlias = Mapping[str, str | int]

NO_ATTRIBUTES: Attributes = MappingProxyType({})


class Kind(enum.Enum):
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span:
    """One that nobody records: it hands on the context that it was begun below."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        # What goes to whoever works on below this span (W3C Trace Context).
        self.traceparent = traceparent

    def end(self, attributes: Attributes = NO_ATTRIBUTES, *, name: str | None = None, error: str | None = None) -> None:
        """It took until now. `error` names what kind of fault it was, one of few: never what was said."""


class Tracing:
    """Tracing that is off."""

    # Whoever would make many spans asks first.
    on: ClassVar[bool] = False

    def begin(
        self,
        name: str,
        kind: Kind,
        *,
        parent: str | None = None,
        links: Sequence[str | None] = (),
        attributes: Attributes = NO_ATTRIBUTES,
        seconds_ago: float = 0.0,
    ) -> Span:
        """A span below `parent`, or a trace of its own without one. `parent` and `links` are traceparents.

        It is told to nobody before its `end`; one that is not ended leaves no trace.
        """
        del name, kind, links, attributes, seconds_ago
        return Span(parent)

    async def close(self) -> None:
        """Send what has ended, for a few seconds at most. Raises nothing."""


OFF = Tracing()


def message_attributes(operation: str, kind: str, queue: str, message_id: object) -> dict[str, str | int]:
    """Attributes of a span about one message of a queue, by OpenTelemetry's conventions for messaging."""
    return {
        "messaging.system": "counterfoil",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": queue,
        "messaging.message.id": str(message_id),
    }
