"""E-mail addresses, parsed the same way in both services, by a maintained library.

An address is stored as it is mailed (local part as given, domain in Unicode) and compared by its key (lower case,
domain as A-labels), so that `Asa@BÜCHER.example` and `asa@xn--bcher-kva.example` are one person.
"""

import re
import unicodedata
from dataclasses import dataclass

import idna
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

# The longest path of RFC 5321 section 4.5.3.1.3 is 256 with its angle brackets.
MAX_LENGTH = 254
# Octets (RFC 5321 section 4.5.3.1.1), also for UTF-8 (RFC 6531 section 3.3); the library counts characters.
_MAX_LOCAL_OCTETS = 64
# Most addresses are a dot-atom (RFC 5322 section 3.2.3) at a plain host name. For these the library's thorough parsing,
# a quarter of the cost of a signup, has the same result; a test compares the two. Labels with hyphens in third and
# fourth place are left to the library, because they may be A-labels.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"(?!..--)[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_PLAIN = re.compile(rf"(?=[^@]{{1,64}}@)({_ATOM}(?:\.{_ATOM})*)@((?:{_LABEL}\.)+([A-Za-z]{{2,63}}))")
_SPECIAL_ENDINGS = frozenset(name.rpartition(".")[2] for name in SPECIAL_USE_DOMAIN_NAMES)

_ANY_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"(?=.{{1,253}}$){_ANY_LABEL}(?:\.{_ANY_LABEL})*")

# Unicode categories Cc, Zl, Zp and Cs, and the characters that override the reading direction.
_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a\u202b\u202d\u202e\u2066-\u2068]")


@dataclass(frozen=True, slots=True)
class Address:
    email: str
    key: str
    # With the domain as A-labels, for gateways without SMTPUTF8. None when the local part needs SMTPUTF8.
    ascii_email: str | None


def parse_address(text: str) -> Address:
    """Parse one bare address.

    Raises:
        ValueError: the message says what is wrong and never repeats the address.
    """
    plain = _PLAIN.fullmatch(text) if len(text) <= MAX_LENGTH else None
    if plain and (domain := plain[2].lower()).rpartition(".")[2] not in _SPECIAL_ENDINGS:
        email = f"{plain[1]}@{domain}"
        return Address(email, email.lower(), email)
    return _parse_thoroughly(text)


def _parse_thoroughly(text: str) -> Address:
    try:
        # No DNS here: a signup must not wait for another server (P2). RFC 6761 asks applications to treat
        # names below .test like any other.
        parsed = validate_email(text, check_deliverability=False, test_environment=True, strict=True)
    except EmailNotValidError as error:
        # The message of the IDNA library repeats the label, which may be a person's name.
        is_domain = isinstance(error.__cause__, idna.IDNAError)
        reason = "The part after the @-sign is no domain name (RFC 5891)." if is_domain else str(error)
        reason = reason.replace(" should have ", " must have ")  # what the library says of a period, it insists on
        raise ValueError(f"Not an e-mail address that can be mailed: {reason}") from None
    if len(parsed.local_part.encode()) > _MAX_LOCAL_OCTETS:
        raise ValueError(
            f"Not an e-mail address that can be mailed: more than {_MAX_LOCAL_OCTETS} octets before the @-sign"
        )
    if len(parsed.normalized) > MAX_LENGTH:
        raise ValueError(f"Not an e-mail address that can be mailed: longer than {MAX_LENGTH} characters")
    key = f"{parsed.local_part}@{parsed.ascii_domain}".lower()
    return Address(parsed.normalized, unicodedata.normalize("NFC", key), parsed.ascii_email)


def address_key(text: str) -> str:
    """The comparison key of an address in a filter.

    Raises:
        ValueError: not an address.
    """
    return parse_address(text).key


def key_of(normalized: str) -> str:
    """The comparison key of an address that `parse_address` has normalized: cheaper than parsing it again."""
    if normalized.isascii():
        return normalized.lower()
    local, _, domain = normalized.rpartition("@")
    return unicodedata.normalize("NFC", f"{local}@{idna.encode(domain).decode()}".lower())


def domain_as_a_labels(text: str) -> str:
    """A domain name (RFC 1035 section 2.3.4) as A-labels (RFC 5890). One label is enough: `localhost` is one.

    Raises:
        ValueError: it is no domain name.
    """
    name = text.strip()
    try:
        found = name if name.isascii() else idna.encode(name, uts46=True).decode()
    except idna.IDNAError:
        found = ""
    if not _DOMAIN.fullmatch(found):
        raise ValueError("must be a domain name like `example.com`")
    return found


def is_plain_text(text: str) -> bool:
    """No control, line-breaking or bidirectional-override characters, which could forge a header or a page."""
    return _NOT_PLAIN.search(text) is None
