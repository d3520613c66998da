"""Who may send as whom: the domains that a client may name in `from` (MAIL_SENDER_DOMAINS, ADR 0021).

A domain stands for itself only: a subdomain is listed like any other domain.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parseaddr

from shared.contract.addresses import key_of, parse_address
from shared.contract.fields import Recipient
from shared.contract.problems import InvalidRequest, at


@dataclass(frozen=True, slots=True)
class SenderDomains:
    """Domains by their comparison key (A-labels, lower case); the values are for reading (Unicode)."""

    of_everyone: Mapping[str, str]
    by_client: Mapping[str, Mapping[str, str]]

    @classmethod
    def parse(cls, text: str, mail_from: str) -> "SenderDomains":
        """`text` is MAIL_SENDER_DOMAINS: `example.com,billing=invoices.example|example.com`.

        A client that is named has exactly its own list. All others share the part without a name, or, when there is
        none, the domain of `mail_from` (MAIL_FROM).

        Raises:
            ValueError: a part is no domain name, or names none.
        """
        found: dict[str, dict[str, str]] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            client, is_named, names = (word.strip() for word in part.rpartition("="))
            if is_named and not client:
                raise ValueError(f"{part!r} names no client before `=`")
            found.setdefault(client, {}).update(map(_domain, names.split("|")))
        of_everyone = found.pop("", None) or dict([_domain(parseaddr(mail_from)[1].rpartition("@")[2])])
        return cls(of_everyone, found)

    def of(self, client: str) -> Mapping[str, str]:
        return self.by_client.get(client, self.of_everyone)

    def refuse_foreign(self, client: str, sender: Recipient | None) -> None:
        """Without `from` a mail is sent from MAIL_FROM, which every client may.

        Raises:
            InvalidRequest: the sender's domain is not one that the client may send from.
        """
        if sender is None:
            return
        allowed = self.of(client)
        if key_of(sender.email).rpartition("@")[2] not in allowed:
            names = ", ".join(sorted(allowed.values()))
            raise InvalidRequest(
                f"`from` is at a domain that the client {client} may not send from.",
                errors=[at("/from", f"Must be an address at one of these domains: {names}")],
            )


def _domain(text: str) -> tuple[str, str]:
    name = text.strip()
    try:
        address = parse_address(f"postmaster@{name}")
    except ValueError:
        raise ValueError(f"{name!r} is not a domain name like `example.com`") from None
    return address.key.rpartition("@")[2], address.email.rpartition("@")[2]
