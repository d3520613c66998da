"""Reads answers of the service; what is none of its own becomes one error."""

import json
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from .errors import UnreadableAnswer
from .records import Json
from .steps import Answer

T = TypeVar("T")
P = ParamSpec("P")


def read(answer: Answer, reader: Callable[Concatenate[Json, P], T], *arguments: P.args, **named: P.kwargs) -> T:
    """What `reader` makes of the JSON object of an answer.

    Raises:
        UnreadableAnswer: it is none, or another one.
    """
    try:
        members = json.loads(answer.body)
        return reader(members, *arguments, **named)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableAnswer(f"Answered {answer.status} with another content: {type(error).__name__}") from error
