"""Write text as lines of a message header: folding, RFC 2047 encoded words, display names, addresses.

No line break of the caller gets through: control characters raise, everything else is ASCII or encoded. One exception:
the local part of an address may be UTF-8 (RFC 6532), because there is no other way to write it.
"""

import re
from binascii import b2a_base64
from functools import lru_cache

from shared.contract.addresses import parse_address

_LINE = 78  # RFC 5322 section 2.1.1: lines should be no longer, and must stay below 998
_WORD_LINE = 76  # RFC 2047 section 2: a line that holds an encoded word
_WORD = 75  # the same: one encoded word
_FRAME = len("=?utf-8?q??=")
_LONGEST_NAME_BESIDE_WORDS = 40  # after a longer header name, encoded words begin on a line of their own
_LONGEST_PLAIN_NAME = 60  # a longer display name is easier to fold as encoded words than as a quoted string
_LONGEST_LINE = 990
_LONGEST_ADDRESS = 320

# Forbidden in every header, encoded or not: a reader that decodes before it splits lines would see a forged one.
_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BETWEEN_URLS = re.compile(r",\s*(?=<)")
_PRINTABLE = re.compile(r"(?:[!-~](?:[ -~]*[!-~])?)?")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_LOCAL_PART = re.compile(r"[^\s\x00-\x20\x7f-\xa0()<>\[\]:;@\\,\"\ud800-\udfff]+")
_DOMAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")

# RFC 2047 section 5 (3): in a phrase only these stay unencoded. Subjects use the same set.
_Q = {byte: f"={byte:02X}" for byte in range(256)} | {ord(c): c for c in "!*+-/"} | {ord(" "): "_"}
_Q |= {byte: chr(byte) for byte in range(128) if chr(byte).isalnum()}


def unstructured(name: str, value: str, *, longest_word: int = _LONGEST_LINE) -> str:
    """The field `name: value` without its final line break: unchanged if plain ASCII, else as encoded words.

    ASCII with a word longer than `longest_word` is encoded too, because encoded words can be folded anywhere.

    Raises:
        ValueError: `value` has a control or line-breaking character, or a lone surrogate.
    """
    _refuse_control(name, value)
    if _PRINTABLE.fullmatch(value) and "=?" not in value:
        field = f"{name}: {value}"
        if len(field) <= _LINE:
            return field
        # A run of spaces could become a line of spaces only, which RFC 5322 calls obsolete.
        if "  " not in value and max(map(len, value.split(" "))) <= min(longest_word, _LONGEST_LINE - len(name)):
            return _fold(field)
    return _with_words(name, value)


def urls(name: str, value: str) -> str:
    """The field `name: value` of URLs in angle brackets (RFC 2369 section 2): folded between them, never encoded.

    Raises:
        ValueError: `value` has a control character or is not ASCII.
    """
    _refuse_control(name, value)
    if not value.isascii():
        raise ValueError(f"The header {name} must be ASCII: use percent-encoding and A-labels in URLs")
    field = f"{name}: {value.strip()}"
    if len(field) <= _LINE:
        return field
    lines: list[str] = []
    for item in _BETWEEN_URLS.split(field):
        if lines and len(lines[-1]) + 2 + len(item) <= _LINE:
            lines[-1] += f", {item}"
        else:
            if lines:
                lines[-1] += ","
            lines.append(f" {item}" if lines else item)
    return "\r\n".join(lines)


def mailbox(name: str, display_name: str | None, email: str) -> str:
    """The field `name: display name <email>`.

    Raises:
        ValueError: the display name has a control character, or `email` is invalid.
    """
    address, _ = ascii_domain(email)
    if not display_name:
        return f"{name}: {address}"
    _refuse_control(name, display_name)
    phrase = _plain_phrase(display_name)
    field = f"{name}: {phrase}" if phrase is not None else _with_words(name, display_name)
    last_line = len(field) - (field.rfind("\r\n") + 2 if "\r\n" in field else 0)
    separator = " " if last_line + len(address) + 3 <= _WORD_LINE else "\r\n "
    return f"{field}{separator}<{address}>"


def ascii_domain(email: str) -> tuple[str, bool]:
    """The address with its domain as A-labels (RFC 5890), and whether its local part needs SMTPUTF8 (RFC 6531).

    Raises:
        ValueError: the address is invalid.
    """
    local, at_sign, domain = email.rpartition("@")
    if not domain.isascii():
        domain = _a_labels(domain)
    if (
        not at_sign
        or len(email) > _LONGEST_ADDRESS
        or not _LOCAL_PART.fullmatch(local)
        or not _DOMAIN.fullmatch(domain)
    ):
        raise ValueError("The e-mail address is invalid or cannot be written in a header")
    return f"{local}@{domain}", not local.isascii()


@lru_cache(maxsize=1024)
def _a_labels(domain: str) -> str:
    return parse_address(f"x@{domain}").key.rpartition("@")[2]


def _refuse_control(name: str, value: str) -> None:
    if _FORBIDDEN.search(value):
        raise ValueError(f"The header {name} must not contain control characters or line breaks")


def _plain_phrase(text: str) -> str | None:
    """The display name as atoms or as a quoted string; None if it must be encoded."""
    # Many readers decode encoded words inside quoted strings too, so a lookalike is encoded itself.
    if not _PRINTABLE.fullmatch(text) or "=?" in text or len(text) > _LONGEST_PLAIN_NAME:
        return None
    if _ATOMS.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _fold(field: str) -> str:
    lines: list[str] = []
    name, line, *words = field.split(" ")
    line = f"{name} {line}"
    for word in words:
        if len(line) + 1 + len(word) > _LINE:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line])


def _with_words(name: str, value: str) -> str:
    data = value.encode()
    # Base64 turns 3 bytes into 4. Q encoding turns each byte outside its safe set into 3.
    quoted = sum(len(_Q[byte]) for byte in data) <= (len(data) + 2) // 3 * 4
    sizes, encode = (_q_sizes, _q_word) if quoted else (_b_sizes, _b_word)
    own_line = len(name) > _LONGEST_NAME_BESIDE_WORDS
    first = _WORD if own_line else _WORD_LINE - len(name) - 2
    budgets = [budget - _FRAME if quoted else (budget - _FRAME) // 4 * 3 for budget in (first, _WORD)]
    words = [encode(chunk) for chunk in _chunks(value, sizes(value), *budgets)]
    return f"{name}:" + ("\r\n " if own_line else " ") + "\r\n ".join(words)


def _chunks(text: str, sizes: list[int], first: int, following: int) -> list[str]:
    """`text` in pieces that fit their line. No character is split: each encoded word must decode alone."""
    chunks: list[str] = []
    start, used, budget = 0, 0, first
    for index, size in enumerate(sizes):
        if used + size > budget:
            chunks.append(text[start:index])
            start, used, budget = index, 0, following
        used += size
    chunks.append(text[start:])
    return chunks


def _q_sizes(text: str) -> list[int]:
    return [len(_Q[ord(char)]) if char.isascii() else 3 * len(char.encode()) for char in text]


def _b_sizes(text: str) -> list[int]:
    return [len(char.encode()) for char in text]


def _q_word(text: str) -> str:
    return "=?utf-8?q?" + "".join(map(_Q.__getitem__, text.encode())) + "?="


def _b_word(text: str) -> str:
    return "=?utf-8?b?" + b2a_base64(text.encode(), newline=False).decode("ascii") + "?="
