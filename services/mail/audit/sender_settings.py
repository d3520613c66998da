"""Which domains mails come from, through which gateways, and where to look them up: read from the settings."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parseaddr
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shared.contract.addresses import parse_address
from shared.contract.network import read_address

from ..delivery.gateways.settings import GatewaySettings, parse_gateways
from ..intake.sender_domains import SenderDomains

if TYPE_CHECKING:
    from ..settings import Settings

# RFC 2606 and 6761: nothing is published for them. The defaults of the settings are among them.
_RESERVED = (".example", ".test", ".invalid", ".localhost", ".example.com", ".example.net", ".example.org")
# What their customers' SPF records include, where it is not below the domain of their SMTP servers.
_SPF_OF_PROVIDERS = {"ses": "amazonses.com", "postmark": "mtasv.net", "resend": "amazonses.com"}
_SELECTOR = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class SpfTarget:
    """What SPF must name for a gateway: `host`. `is_told`: it is in place of the gateway's own host."""

    gateway: str
    host: str
    is_told: bool


@dataclass(frozen=True, slots=True)
class Senders:
    """Domains as A-labels. `keys` are the names of DKIM keys, each with the domain that signs with it."""

    from_domains: Sequence[str]
    # Domains of envelope senders, which SPF is about, with the gateways that send for them.
    envelopes: dict[str, list[SpfTarget]]
    keys: Sequence[tuple[str, str]]

    @classmethod
    def of(cls, settings: "Settings") -> "Senders":
        """Without reserved domains."""
        listed = SenderDomains.parse(settings.mail_sender_domains, settings.mail_from)
        names = {*listed.of_everyone, *(name for names in listed.by_client.values() for name in names)}
        domains = sorted(filter(_is_published, names | {_domain_of(settings.mail_from)}))
        envelopes: dict[str, list[SpfTarget]] = {domain: [] for domain in domains}
        for gateway in parse_gateways(settings.mail_gateways):
            own = gateway.sender.rpartition("@")[2].lower() if gateway.sender else settings.mail_bounce_domain
            for domain in filter(_is_published, [own] if own else domains):
                envelopes.setdefault(domain, []).extend(_targets(gateway))
        selectors = read_selectors(settings.mail_dkim_selectors)
        signed = [(signer, selector) for selector, of in selectors for signer in ([of] if of else domains)]
        keys = [(signer, f"{selector}._domainkey.{signer}") for signer, selector in signed if _is_published(signer)]
        return cls(domains, envelopes, keys)

    def without_keys(self) -> list[str]:
        """From domains without a key that is known by name."""
        signers = {signer for signer, _ in self.keys}
        return [domain for domain in self.from_domains if domain not in signers]


def read_selectors(text: str) -> list[tuple[str, str]]:
    """MAIL_DKIM_SELECTORS as pairs of a selector and its domain; an empty domain: each From domain.

    Raises:
        ValueError: a part is something else.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        domain, is_named, selector = (word.strip().lower() for word in part.rpartition("="))
        fault = ValueError(f"{part!r} is neither `selector` nor `domain=selector`")
        if not _SELECTOR.fullmatch(selector) or (is_named and not domain):
            raise fault
        try:
            found.append((selector, domain and parse_address(f"postmaster@{domain}").key.rpartition("@")[2]))
        except ValueError:
            raise fault from None
    return found


def read_server(text: str) -> tuple[str, int] | None:
    """MAIL_DNS_SERVER: an address and a port. None: those of the machine.

    Raises:
        ValueError: it is something else.
    """
    if not text:
        return None
    try:
        parts = urlsplit(f"//{text}")
        found = str(read_address(parts.hostname or "")), parts.port or 53
    except ValueError:
        found = None
    if found is None or not re.fullmatch(r"[0-9a-fA-F.:\[\]]+", text):
        raise ValueError("must be an address, with or without a port: 192.0.2.53 or [2001:db8::53]:5353")
    return found


def _targets(gateway: GatewaySettings) -> list[SpfTarget]:
    """None for a gateway that SPF does not name: by `spf=no`, or by a name of the own network, which has no dot."""
    told = gateway.spf or _SPF_OF_PROVIDERS.get(gateway.provider or "")
    if told == "no" or (not told and not {".", ":"} & set(gateway.host)):
        return []
    return [SpfTarget(gateway.name, told or gateway.host, bool(told))]


def _is_published(domain: str) -> bool:
    return "." in domain and not f".{domain}".endswith(_RESERVED)


def _domain_of(sender: str) -> str:
    return parse_address(parseaddr(sender)[1]).key.rpartition("@")[2]
