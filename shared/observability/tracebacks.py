"""Tracebacks for logs: every frame as Python prints it, and of errors of libraries only what may be repeated.

Our own errors and Python's keep their text, which `masking` reads.
"""

import sys
import traceback
from types import TracebackType
from typing import TypeAlias

from .foreign_errors import describe

ExcInfo: TypeAlias = tuple[type[BaseException] | None, BaseException | None, TracebackType | None]

_OURS = frozenset(["services", "shared", "local", "__main__"])
# smtplib's errors are a server's words.
_PYTHONS = sys.stdlib_module_names - {"smtplib"}
_CAUSE = "The above exception was the direct cause of the following exception:"
_CONTEXT = "During handling of the above exception, another exception occurred:"


def render(exc_info: ExcInfo) -> str:
    """The traceback with its chain of causes, the first cause on top. Parts are separated by empty lines."""
    error = exc_info[1]
    return "" if error is None else "\n\n".join(_parts(error))


def _parts(error: BaseException) -> list[str]:
    parts, seen = [_one(error)], {id(error)}
    while (earlier := _earlier(error)) is not None:
        error, link = earlier
        if id(error) in seen:
            break
        seen.add(id(error))
        parts = [_one(error), link, *parts]
    return parts


def _earlier(error: BaseException) -> tuple[BaseException, str] | None:
    if error.__cause__ is not None:
        return error.__cause__, _CAUSE
    if error.__context__ is not None and not error.__suppress_context__:
        return error.__context__, _CONTEXT
    return None


def _one(error: BaseException) -> str:
    frames = "".join(traceback.format_tb(error.__traceback__))
    text = f"Traceback (most recent call last):\n{frames}{_last_line(error)}"
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return "\n\n".join([text, *(part for one in inner for part in _parts(one))])


def _last_line(error: BaseException) -> str:
    root = type(error).__module__.partition(".")[0]
    if root not in _OURS and root not in _PYTHONS:
        return describe(error)
    return f"{type(error).__qualname__}: {error}"
