"""The parts that a service adds to its document. `complete` puts them in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Named:
    """Several examples of one body or answer, each under a few words that say what it shows."""

    examples: Mapping[str, Any]


@dataclass(frozen=True)
class About:
    """What a parameter is, and an example of it."""

    text: str
    example: Any = None


@dataclass(frozen=True)
class To:
    """A link to the operation `operation`: `parameters` are runtime expressions, and so are the members of `body`."""

    operation: str
    text: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Event:
    """A webhook: when it comes, and an example of its body, which `model` describes."""

    when: str
    model: type[BaseModel]
    example: Mapping[str, Any]


@dataclass(frozen=True)
class Teaching:
    """`source`: the package whose own problems the service answers with.

    `parameters` are named by parameter, or by `operation.parameter` where the same name means something else.
    `examples` and `links` are named by schema, or by `operation` (a body) and `operation STATUS` (an answer).
    """

    source: str
    description: str
    tags: Mapping[str, str]
    parameters: Mapping[str, About]
    examples: Mapping[str, Any]
    links: Mapping[str, Sequence[To]]
    events: Mapping[str, Event]
