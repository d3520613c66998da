"""Spans, as OpenTelemetry calls them: what a trace shows of a request, an outbox row, a mail and an attempt.

Off unless configured. Only `otlp` knows the SDK, and it is imported only when spans are exported (ADR 0012). A span
holds our own IDs, names from the code, counts and codes; never an address, a name, a subject, a request path as it was
sent, or text from clients and peers.
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
    """A span that is not recorded: it passes on the context of its parent."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        # Passed to the work below this span (W3C Trace Context).
        self.traceparent = traceparent

    def end(self, attributes: Attributes = NO_ATTRIBUTES, *, name: str | None = None, error: str | None = None) -> None:
        """End the span now. `error` is one of a few kinds of fault, never the text of an error."""


class Tracing:
    """Tracing that is off."""

    # Check before creating many spans.
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
        """Start a span below `parent`, or a new trace without one. `parent` and `links` are traceparents.

        A span is exported after its `end`; one that is never ended leaves no trace.
        """
        del name, kind, links, attributes, seconds_ago
        return Span(parent)

    async def close(self) -> None:
        """Export ended spans, for a few seconds at most. Raises nothing."""


OFF = Tracing()

MESSAGE_ID = "messaging.message.id"


def message_attributes(operation: str, kind: str, queue: str, message_id: object = None) -> dict[str, str | int]:
    """Attributes of a span about one message of a queue, by OpenTelemetry's conventions for messaging.

    A span of a message that has no ID yet gets it when it ends.
    """
    return {
        "messaging.system": "counterfoil",
        "messaging.operation.name": operation,
        "messaging.operation.type": kind,
        "messaging.destination.name": queue,
        **({MESSAGE_ID: str(message_id)} if message_id is not None else {}),
    }
