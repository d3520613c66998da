"""Masks personal and secret data in log lines, by field name and by pattern.

Our own lines name people by ID only. Masking is for other text: exceptions that quote a value, gateways that repeat an
address, libraries. A name in running text looks like any other word, so where values are known to be quoted
(PostgreSQL, asyncpg, pydantic) the whole quotation is masked. The domain of an address stays: operators need to know
which provider refuses, and the mail's ID leads to the person. The local part is not hashed: addresses can be guessed,
so a hash would identify people to anyone with a list of addresses.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import NoneType
from typing import Any

from structlog.typing import EventDict

MASK = "***"

# Fields whose text is always masked; also as the last word of a longer name, like `to_email` or `client_ip`.
# So fields that are not personal need other names: `loop`, `gateway`, `check`. Numbers are counts, and stay.
PERSONAL_FIELDS = frozenset(
    [
        # identity of a person
        *("email", "address", "addresses", "name", "external_id", "ip"),
        # sender and recipients of a mail
        *("to", "from", "from_", "cc", "bcc", "recipient", "recipients", "sender", "reply_to", "mailbox"),
        # content of a mail, and data that clients store with users and mails
        *("subject", "text", "html", "body", "content", "variables", "metadata", "headers", "payload", "raw"),
        # replies of gateways and bounces, which often repeat the address
        *("reply", "diagnostic", "diagnostic_code"),
        # credentials; an idempotency key is text that a client chose
        *("authorization", "cookie", "token", "secret", "password", "key", "api_key", "idempotency_key"),
        # the comparison key of an address
        *("email_key", "to_key"),
    ]
)
_HARMLESS = (bool, int, float, NoneType)

# Any text that may need masking matches this; most strings do not. 70 characters are a token's length.
_SUSPECT = re.compile(
    r"@|%40|cf_|whsec_|://|/verify/|[Bb]earer |DETAIL: |input_value=|invalid input |Command # |with args |"
    r"\[parameters: |[\w-]{70}"
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # PostgreSQL quotes rows and keys in DETAIL, asyncpg and pydantic arguments, SQLAlchemy parameters. A value may hold
    # line breaks, so each match runs to the end of the message: the next part of a traceback, or the end of the text.
    (re.compile(r"(DETAIL: ).*?(?=\n(?:HINT|CONTEXT): |\n\s*\n|\Z)", re.DOTALL), rf"\1{MASK}"),
    (re.compile(r"(invalid input for query argument \$\d+).*?(?=\n\s*\n|\Z)", re.DOTALL), rf"\1: {MASK}"),
    # redis-py quotes the whole command of a pipeline, Valkey the arguments of a command that it does not know.
    (re.compile(r"(Command # \d+ \().*?(?=\n\s*\n|\Z)", re.DOTALL), rf"\1{MASK}"),
    (re.compile(r"(with args beginning with:).*?(?=\n\s*\n|\Z)", re.DOTALL), rf"\1 {MASK}"),
    (re.compile(r"(invalid input \w{1,20} for [\w ]{1,60}: ).*"), rf"\1{MASK}"),
    (re.compile(r"(input_value=)(?:(?!, input_type=|input_value=).)*+", re.DOTALL), rf"\1{MASK}"),
    (re.compile(r"(\[parameters: ).*?(?=\n|\Z)"), rf"\1{MASK}]"),
    # API keys keep their ID, which `keys list` shows.
    (re.compile(r"\b(cf_[0-9A-Za-z]{1,12})_[0-9A-Za-z]+"), rf"\1_{MASK}"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), f"whsec_{MASK}"),
    (re.compile(r"\b(bearer )(?!cf_)\S+", re.IGNORECASE), rf"\1{MASK}"),
    # The route pattern, /verify/{token}, stays.
    (re.compile(r"(/verify/)(?!\{)[^\s\"'<>?#,)\]}]+"), rf"\1{MASK}"),
    (re.compile(r"(?<![\w-])[\w-]{70}(?![\w-])", re.ASCII), MASK),
    (re.compile(r"(://[^\s:/@]*):[^\s/]*@"), rf"\1:{MASK}@"),
    # The local part of an address, quoted or not, up to its @-sign; possessive, so that the search is fast on any text.
    (re.compile(r"\"(?:[^\"\\\n]|\\.){0,70}+\"(?=@\S)"), MASK),
    (re.compile(r"\\\"[^\"\n]{0,70}+\"(?=@\S)"), MASK),
    (re.compile(r"(?<![^\s@<>()\[\],;:\"])[^\s@<>()\[\],;:\"]++(?=@\S)"), MASK),
    (re.compile(r"(?<![\w.+%~-])(?:[\w.+~-]|%(?!40))++(?=%40)"), MASK),
)


class Masker:
    """The last structlog processor before rendering. Records of other loggers pass through it as well."""

    def __call__(self, _logger: object, _method: str, event: EventDict) -> EventDict:
        return {key: self._field(key, value) for key, value in event.items()}

    def _field(self, key: str, value: Any) -> Any:
        return MASK if not isinstance(value, _HARMLESS) and _is_personal(key) else self._value(value)

    def _value(self, value: Any) -> Any:
        match value:
            case str():
                return mask_text(value)
            case _ if isinstance(value, _HARMLESS):
                return value
            case Mapping():
                return {mask_text(str(key)): self._field(str(key), item) for key, item in value.items()}
            case list() | tuple() | set() | frozenset():
                return [self._value(item) for item in value]
            case _:
                # The renderer would write the repr.
                return mask_text(repr(value))


def mask_text(text: str) -> str:
    """`text` without local parts of addresses, keys, tokens, passwords in URLs, and quoted values."""
    if _SUSPECT.search(text) is None:
        return text
    for pattern, masked in _RULES:
        text = pattern.sub(masked, text)
    return text


@lru_cache(maxsize=1024)
def _is_personal(field: str) -> bool:
    name = field.lower().replace("-", "_")
    return name in PERSONAL_FIELDS or name.rpartition("_")[2] in PERSONAL_FIELDS
