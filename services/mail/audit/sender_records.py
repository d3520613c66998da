"""What the SPF, DKIM and DMARC records of a domain say to receivers (RFC 7208, 6376, 9989).

Pure: `sender_dns` asks the name server. A fault is one sentence about the domain that goes on after its name.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from shared.contract.network import Address, read_address

# RFC 7208 section 4.6.4.
MAX_SPF_LOOKUPS = 10

_SPF = re.compile(r"v=spf1( |$)", re.IGNORECASE)
_MODIFIER = re.compile(r"([a-z][a-z0-9_.-]*)=(.*)", re.IGNORECASE)
_MECHANISM = re.compile(
    r"([+?~-]?)(all|include|a|mx|ptr|ip4|ip6|exists)(?::([^/]+))?(?:/(\d+))?(?://(\d+))?", re.IGNORECASE
)
_DMARC = re.compile(r"v\s*=\s*DMARC1\s*(;|$)")


class RecordFaultError(ValueError):
    """Receivers cannot use the record. The message is the fault."""


class Block(NamedTuple):
    """The addresses that share the first `prefix` bits with `address`."""

    address: Address
    prefix: int

    def has(self, address: Address) -> bool:
        shift = max(address.max_prefixlen - self.prefix, 0)
        return address.version == self.address.version and int(address) >> shift == int(self.address) >> shift


EVERYTHING = (Block(read_address("192.0.2.1"), 0), Block(read_address("2001:db8::1"), 0))


@dataclass(frozen=True, slots=True)
class Term:
    """`value` is a domain, or the address of ip4 and ip6; empty: the domain itself. A redirect is a mechanism, too."""

    passes: bool
    mechanism: str
    value: str
    prefix4: int
    prefix6: int

    @property
    def needs_lookup(self) -> bool:
        return self.mechanism not in ("all", "ip4", "ip6")

    def block(self, address: Address) -> Block:
        return Block(address, self.prefix6 if ":" in str(address) else self.prefix4)

    @property
    def can_be_judged(self) -> bool:
        """Without the mail in hand: macros stand for parts of it, and `ptr` for the name of its address."""
        return "%" not in self.value and self.mechanism not in ("ptr", "exists")


@dataclass(frozen=True, slots=True)
class Spf:
    """The record of `domain`: what each term matches, and whether the match passes. None: cannot be judged."""

    domain: str
    rules: tuple[tuple[bool, "Match"], ...]

    def allows(self, address: Address) -> bool | None:
        unknown = False
        for passes, match in self.rules:
            if isinstance(match, Spf):
                matches = match.allows(address)
            else:
                matches = None if match is None else any(block.has(address) for block in match)
            if matches:
                return passes or (None if unknown else False)
            unknown = unknown or matches is None
        return None if unknown else False

    def included(self) -> Iterator[str]:
        """The domains whose servers pass, because the record includes theirs."""
        for passes, match in self.rules:
            if passes and isinstance(match, Spf):
                yield match.domain
                yield from match.included()


Match: TypeAlias = tuple[Block, ...] | Spf | None


def spf_terms(texts: Iterable[str]) -> list[Term]:
    """The terms of the SPF record among the TXT records, a redirect last.

    Raises:
        RecordFaultError: there is none, or more than one, or it cannot be read.
    """
    records = [text for text in texts if _SPF.match(text)]
    if len(records) != 1:
        raise RecordFaultError(f"has {len(records) or 'no'} SPF record{'s: receivers take one' if records else ''}")
    modifiers = [match for word in records[0].split()[1:] if (match := _MODIFIER.fullmatch(word))]
    terms = [_term(word) for word in records[0].split()[1:] if not _MODIFIER.fullmatch(word)]
    if any(term.mechanism == "all" for term in terms):
        return terms
    return terms + [Term(True, "redirect", match[2], 32, 128) for match in modifiers if match[1].lower() == "redirect"]


def _term(word: str) -> Term:
    match = _MECHANISM.fullmatch(word) or ("%" in word and _MECHANISM.match(word))
    fault = RecordFaultError(f"has an SPF record that receivers cannot read: {word[:80]}")
    if not match:
        raise fault
    mechanism, value = match[2].lower(), (match[3] or "").rstrip(".").lower()
    if mechanism in ("include", "exists") and not value:
        raise fault
    # `ip6:2001:db8::/32`, but `a:example.com/24//64`.
    prefix4, prefix6 = int(match[4] or 32), int((match[4] if mechanism == "ip6" else match[5]) or 128)
    if mechanism in ("ip4", "ip6"):
        try:
            read_address(value)
        except ValueError:
            raise fault from None
    return Term(match[1] in ("", "+"), mechanism, value, prefix4, prefix6)


def is_of_one_provider(host: str, name: str) -> bool:
    """Whether an SPF record of `name` speaks for `host`: one is below the other, or both are below one domain.

    `smtp.mailgun.org` and `mailgun.org`, `smtp-relay.brevo.com` and `spf.brevo.com`.
    """
    parent = host.partition(".")[2] if host.count(".") > 1 else host
    return name == host or ("." in name and host.endswith(f".{name}")) or name.endswith(f".{parent}")


def parents(domain: str) -> list[str]:
    """The domain and those above it, without the last label alone."""
    labels = domain.split(".")
    return [".".join(labels[start:]) for start in range(max(len(labels) - 1, 1))]


def has_dmarc(texts: Iterable[str]) -> bool:
    """Whether the TXT records of `_dmarc` hold a DMARC record.

    Raises:
        RecordFaultError: more than one, or one without a policy.
    """
    records = [text for text in texts if _DMARC.match(text)]
    if len(records) > 1:
        raise RecordFaultError(f"has {len(records)} DMARC records: receivers use none of them")
    if records and _tags(records[0]).get("p", "").lower() not in ("none", "quarantine", "reject"):
        raise RecordFaultError("has a DMARC record without p=none, p=quarantine or p=reject")
    return bool(records)


def check_key(name: str, texts: Sequence[str]) -> None:
    """Raises RecordFaultError unless the TXT records of `name` hold a public key for DKIM (RFC 6376 section 3.6.1)."""
    keys = [tags["p"] for text in texts if "p" in (tags := _tags(text)) and tags.get("v", "DKIM1") == "DKIM1"]
    if not keys:
        raise RecordFaultError(f"has no DKIM key at {name}")
    if not all(keys):
        raise RecordFaultError(f"has a DKIM key at {name} that is revoked: its p= is empty")


def _tags(text: str) -> dict[str, str]:
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}
