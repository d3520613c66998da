"""What is personal or secret is masked in log lines: by the name of a field, and by its look, wherever it stands.

Our own lines name people by ID only. This is for what others say: exceptions that quote a value, gateways that repeat
an address, libraries. A name in running text looks like any other word, so the places that are known to quote values
(PostgreSQL, asyncpg, pydantic) lose the quotation as a whole. Of an address the domain stays: which provider refuses is
what an operator asks, and whoever has to know the person has the mail's ID. No hash of the rest: addresses can be
guessed, so that it would name people to whoever holds a list of them.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from types import NoneType
from typing import Any

from structlog.typing import EventDict

MASK = "***"

# Fields whose text is masked whatever it is; also as the last word of a longer name, like `to_email` or `client_ip`.
# So what is no person's is called otherwise: `loop`, `gateway`, `check`. Numbers are counts, and stay.
PERSONAL_FIELDS = frozenset(
    [
        # who somebody is, and what clients call them
        *("email", "address", "addresses", "name", "external_id", "ip"),
        # the two ends of a mail
        *("to", "from", "from_", "cc", "bcc", "recipient", "recipients", "sender", "reply_to", "mailbox"),
        # what a mail says, and what clients keep beside people and mails
        *("subject", "text", "html", "body", "content", "variables", "metadata", "headers", "payload", "raw"),
        # the words of gateways and of bounces: they often repeat the address
        *("reply", "diagnostic", "diagnostic_code"),
        # what opens doors; an idempotency key is a client's own word
        *("authorization", "cookie", "token", "secret", "password", "key", "api_key", "idempotency_key"),
        # the comparison key of an address
        *("email_key", "to_key"),
    ]
)
_HARMLESS = (bool, int, float, NoneType)

# Whatever could need masking holds one of these; most strings hold none. 70 characters are a token's length.
_SUSPECT = re.compile(
    r"@|%40|cf_|whsec_|://|/verify/|[Bb]earer |DETAIL: |input_value=|invalid input |\[parameters: |[\w-]{70}"
)
_RULES: tuple[tuple[re.Pattern[str], str], ...] = (
    # PostgreSQL quotes rows and keys in DETAIL, asyncpg and pydantic arguments, SQLAlchemy parameters. A value may hold
    # line breaks, so each goes on to the end of the message: the next part of a traceback, or the end.
    (re.compile(r"(DETAIL: ).*?(?=\n(?:HINT|CONTEXT): |\n\s*\n|\Z)", re.DOTALL), rf"\1{MASK}"),
    (re.compile(r"(invalid input for query argument \$\d+).*?(?=\n\s*\n|\Z)", re.DOTALL), rf"\1: {MASK}"),
    (re.compile(r"(invalid input \w{1,20} for [\w ]{1,60}: ).*"), rf"\1{MASK}"),
    (re.compile(r"(input_value=)(?:(?!, input_type=|input_value=).)*+", re.DOTALL), rf"\1{MASK}"),
    (re.compile(r"(\[parameters: ).*?(?=\n|\Z)"), rf"\1{MASK}]"),
    # Our keys keep their ID, which `keys list` knows.
    (re.compile(r"\b(cf_[0-9A-Za-z]{1,12})_[0-9A-Za-z]+"), rf"\1_{MASK}"),
    (re.compile(r"\bwhsec_[\w+/=-]+"), f"whsec_{MASK}"),
    (re.compile(r"\b(bearer )(?!cf_)\S+", re.IGNORECASE), rf"\1{MASK}"),
    # A route's own pattern, /verify/{token}, may stay.
    (re.compile(r"(/verify/)(?!\{)[^\s\"'<>?#,)\]}]+"), rf"\1{MASK}"),
    (re.compile(r"(?<![\w-])[\w-]{70}(?![\w-])", re.ASCII), MASK),
    (re.compile(r"(://[^\s:/@]*):[^\s/]*@"), rf"\1:{MASK}@"),
    # The local part of an address, quoted or not, up to its @-sign; possessive, so that no text takes long to search.
    (re.compile(r"\"(?:[^\"\\\n]|\\.){0,70}+\"(?=@\S)"), MASK),
    (re.compile(r"\\\"[^\"\n]{0,70}+\"(?=@\S)"), MASK),
    (re.compile(r"(?<![^\s@<>()\[\],;:\"])[^\s@<>()\[\],;:\"]++(?=@\S)"), MASK),
    (re.compile(r"(?<![\w.+%~-])(?:[\w.+~-]|%(?!40))++(?=%40)"), MASK),
)


class Masker:
    """The last processor before an event is rendered (structlog); foreign records come through it as well."""

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
                # As the renderer would write it.
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
