"""What may be repeated of an exception that a library or another server raised: its type and the server's own words.

Such an exception may quote what it was doing: redis-py quotes the whole command, asyncpg the arguments, httpx the URL.
Logs, health checks, heartbeats, breakers, alerts and stored errors therefore never hold `str(error)`, only `describe`.
Words are kept where they are known to be about the server; everything else is its type alone.
Drivers are told apart by name, because no service installs all of them.
"""

import ast
import http
import os
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

from .masking import mask_text

_MAX_CHARACTERS = 300

# SQLSTATE classes whose messages name the server's state or the schema. Others, such as 22 (data exceptions), quote
# values. Rows and keys stand in DETAIL, which is not part of the message.
_POSTGRESQL_CLASSES = frozenset(
    ["08", "0A", "23", "25", "26", "28", "3D", "3F", "40", "42", "53", "54", "55", "57", "58", "XX"]
)

# redis-py wraps what the server said: `Command # 2 (SET key value) of pipeline caused error: ("…",)`.
_PIPELINE = ") of pipeline caused error: "
# Errors of the connection, and answers of the server. The others quote arguments or raw bytes.
_VALKEY_TYPES = frozenset(["ConnectionError", "TimeoutError", "ResponseError", "ClusterError"])
# `unknown command 'x', with args beginning with: 'y'`: what follows a quotation mark or a colon may be the command.
_QUOTATION = re.compile(r"(?<!\w)['\"`]|:\s")

# Replies to these are about the sender, the recipient or the content.
_SMTP_ABOUT_A_MAIL = frozenset(["SMTPSenderRefused", "SMTPRecipientRefused", "SMTPRecipientsRefused", "SMTPDataError"])
_ENHANCED_CODE = re.compile(r"[245]\.\d{1,3}\.\d{1,3}(?!\S)")

# An exception may be its own cause's context; longer chains add nothing.
_MAX_CAUSES = 8


def describe(error: BaseException) -> str:
    """`Type: words`, or the type alone. One line, at most 300 characters, never a value, a command or a URL."""
    error = _inside_sqlalchemy(error)
    words = _words_of(error)
    line = f"{type(error).__name__}: {words}" if words else type(error).__name__
    return " ".join(line.replace("\0", "").split())[:_MAX_CHARACTERS]


def _words_of(error: BaseException) -> str:
    for kind in type(error).__mro__:
        read = _DRIVERS.get(kind.__module__.partition(".")[0])
        if read is not None:
            return read(error) or _system_words(error)
    return _system_words(error)


def _inside_sqlalchemy(error: BaseException) -> BaseException:
    """The driver's exception inside SQLAlchemy's, which quotes the statement and its parameters."""
    adapted = getattr(error, "orig", None) if _is_from("sqlalchemy", error) else None
    return getattr(adapted, "__cause__", None) or error


def _is_from(package: str, error: BaseException) -> bool:
    return any(kind.__module__.partition(".")[0] == package for kind in type(error).__mro__)


def _postgresql(error: Any) -> str:
    # asyncpg's own errors have no SQLSTATE, and quote the arguments of a query.
    state = getattr(error, "sqlstate", None)
    if not isinstance(state, str) or state[:2] not in _POSTGRESQL_CLASSES:
        return ""
    return str(error.args[0]) if error.args else ""


def _valkey(error: Any) -> str:
    if _VALKEY_TYPES.isdisjoint(kind.__name__ for kind in type(error).__mro__) or not error.args:
        return ""
    text = str(error.args[0])
    _, in_pipeline, said = text.rpartition(_PIPELINE)
    return _QUOTATION.split(_unwrapped(said) if in_pipeline else text, maxsplit=1)[0]


def _unwrapped(said: str) -> str:
    """Some versions of redis-py quote the words as the only item of a tuple."""
    if not said.startswith("("):
        return said
    try:
        return str(ast.literal_eval(said)[0])
    except (ValueError, SyntaxError, LookupError, TypeError):
        return ""


def _smtp(error: Any) -> str:
    # aiosmtplib's names, then smtplib's.
    code = getattr(error, "code", None) or getattr(error, "smtp_code", None)
    if code is None:
        return ""
    said = getattr(error, "message", None) or getattr(error, "smtp_error", "")
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    if type(error).__name__ in _SMTP_ABOUT_A_MAIL:
        enhanced = _ENHANCED_CODE.match(text)
        return f"{code} {enhanced.group()}" if enhanced else str(code)
    return f"{code} {mask_text(text)}"


def _http(error: Any) -> str:
    # Only httpx.HTTPStatusError has an answer. Its text quotes the URL.
    try:
        return _status(vars(error)["response"].status_code)
    except (LookupError, AttributeError):
        return ""


def _status(code: int) -> str:
    try:
        return f"{code} {http.HTTPStatus(code).phrase}"
    except ValueError:
        return str(code)


_DRIVERS: dict[str, Callable[[Any], str]] = {
    "asyncpg": _postgresql,
    "redis": _valkey,
    "aiosmtplib": _smtp,
    "smtplib": _smtp,
    "httpx": _http,
}


def _system_words(error: BaseException) -> str:
    """What the operating system or the TLS library said, of this error or of one that caused it: fixed texts."""
    for cause in _causes(error):
        match cause:
            case ssl.SSLCertVerificationError():
                return cause.verify_message
            case ssl.SSLError():
                return str(cause.reason or "").replace("_", " ").lower()
            case socket.gaierror():
                return cause.strerror or ""
            case OSError(errno=int(number)) if number > 0:
                return os.strerror(number)
            case _:
                pass
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        cause = cause.exceptions[0] if isinstance(cause, BaseExceptionGroup) else cause.__cause__ or cause.__context__
