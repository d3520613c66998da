"""The check `sender_dns`: large mailbox providers reject mails of domains without SPF, DKIM and DMARC (ADR 0035).

It decides nothing about mails, and what it could not learn does not count: without DNS it is silent.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from shared.audit.sanity_checks import CodedCheck, Finding
from shared.audit.severity import Severity
from shared.contract.network import is_public, read_address

from .sender_records import (
    EVERYTHING,
    MAX_SPF_LOOKUPS,
    Match,
    RecordFaultError,
    Spf,
    Term,
    check_key,
    has_dmarc,
    is_of_one_provider,
    parents,
    spf_terms,
)
from .sender_settings import Senders, SpfTarget, read_server

if TYPE_CHECKING:
    from ..settings import Settings

_DAY_SECONDS = 86_400.0
_LOOKUP_SECONDS = 3.0
# Less than a check may take as a whole, so that an outage of DNS is not a failed check.
_DOMAIN_SECONDS = 8.0
_LOOKUPS_AT_ONCE = 16


class UnansweredError(Exception):
    """DNS did not say. The message names the question."""


class TooManyLookupsError(RecordFaultError):
    """The message is about the domain itself, however deep the include that was one too many."""


class Lookup:
    """Asks DNS for records as text, each question once."""

    def __init__(self, server: tuple[str, int] | None = None, seconds: float = _LOOKUP_SECONDS) -> None:
        """`server` is in place of the machine's own. Raises UnansweredError when there is none."""
        import dns.asyncresolver  # noqa: PLC0415 - 3 MB that only this check needs
        import dns.resolver  # noqa: PLC0415

        try:
            self._resolver = dns.asyncresolver.Resolver(configure=server is None)
        except dns.resolver.NoResolverConfiguration:
            raise UnansweredError("this machine has no name server") from None
        if server:
            self._resolver.nameservers, self._resolver.port = [server[0]], server[1]
        self._resolver.lifetime = seconds
        self._resolver.cache = dns.resolver.LRUCache()
        self._at_once = asyncio.Semaphore(_LOOKUPS_AT_ONCE)

    async def ask(self, name: str, kind: str) -> list[str]:
        """The records of `name`; empty when there are none. Raises UnansweredError."""
        return await self._answer(name, kind) or []

    async def addresses(self, name: str) -> list[str]:
        """Of both versions. Raises UnansweredError."""
        return [*await self.ask(name, "A"), *await self.ask(name, "AAAA")]

    async def exists(self, name: str) -> bool:
        """Whether anything is at or below `name` (RFC 8020). Raises UnansweredError."""
        return await self._answer(name, "TXT") is not None

    async def _answer(self, name: str, kind: str) -> list[str] | None:
        """None: the name does not exist."""
        import dns.exception  # noqa: PLC0415 - as above
        import dns.resolver  # noqa: PLC0415

        try:
            async with self._at_once:
                answer = await self._resolver.resolve(f"{name}.", kind, search=False, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            return None
        except (dns.exception.DNSException, OSError):
            raise UnansweredError(f"no answer about {kind} of {name}") from None
        return [_text(record) for record in answer]


def _text(record: Any) -> str:
    if hasattr(record, "strings"):
        return b"".join(record.strings).decode("ascii", "replace")
    return str(record.exchange.to_text(omit_final_dot=True) if hasattr(record, "exchange") else record.address)


class SpfReader:
    """Reads one domain's SPF record with all that it includes, and counts lookups as receivers do."""

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._lookups = 0

    async def read(self, domain: str) -> Spf:
        """Raises RecordFaultError, UnansweredError."""
        terms = spf_terms(await self._lookup.ask(domain, "TXT"))
        return Spf(domain, tuple([(term.passes, await self._match(domain, term)) for term in terms]))

    async def _match(self, domain: str, term: Term) -> Match:
        self._lookups += term.needs_lookup
        if self._lookups > MAX_SPF_LOOKUPS:
            raise TooManyLookupsError(
                f"has an SPF record that takes more than {MAX_SPF_LOOKUPS} lookups: receivers stop there and fail it"
            )
        if not term.can_be_judged:
            return None
        name = term.value or domain
        match term.mechanism:
            case "all":
                return EVERYTHING
            case "ip4" | "ip6":
                return (term.block(read_address(name)),)
            case "include" | "redirect":
                return await self._included(name)
            case _:
                hosts = await self._lookup.ask(name, "MX") if term.mechanism == "mx" else [name]
                found = [read_address(text) for host in hosts for text in await self._lookup.addresses(host)]
                return tuple(map(term.block, found))

    async def _included(self, name: str) -> Spf:
        try:
            return await self.read(name)
        except TooManyLookupsError:
            raise
        except RecordFaultError as fault:
            raise RecordFaultError(f"has an SPF record that includes {name}, which {fault}") from None


def sender_dns_check(settings: "Settings") -> CodedCheck:
    async def find() -> Sequence[Finding]:
        senders = Senders.of(settings)
        if settings.mail_dns_check == "off" or not senders.envelopes:
            return ()
        try:
            lookup = Lookup(read_server(settings.mail_dns_server))
        except UnansweredError as error:
            return [_unjudged("DNS", error)]
        return await find_faults(senders, lookup)

    return CodedCheck(
        "sender_dns",
        "Domains that mails come from whose SPF, DKIM or DMARC record is missing or wrong, or whose SPF record does "
        "not name a gateway (daily). What DNS does not answer is among the examples and does not count.",
        find,
        Severity.WARNING,
        every_seconds=_DAY_SECONDS,
    )


async def find_faults(senders: Senders, lookup: Lookup) -> list[Finding]:
    questions = [
        *((domain, partial(_check_spf, lookup, domain, targets)) for domain, targets in senders.envelopes.items()),
        *((domain, partial(_check_dmarc, lookup, domain)) for domain in senders.from_domains),
        *((signer, partial(_check_key, lookup, name)) for signer, name in senders.keys),
        *((domain, partial(_check_any_key, lookup, domain)) for domain in senders.without_keys()),
    ]
    found = await asyncio.gather(*(_judge(lookup, domain, question) for domain, question in questions))
    return [finding for finding in dict.fromkeys(found) if finding]


async def _judge(lookup: Lookup, domain: str, question: Callable[[], Awaitable[None]]) -> Finding | None:
    try:
        async with asyncio.timeout(_DOMAIN_SECONDS):
            await _require_top_level(lookup, domain)
            await question()
    except RecordFaultError as fault:
        return Finding(domain, str(fault))
    except UnansweredError as error:
        return _unjudged(domain, error)
    except TimeoutError:
        return _unjudged(domain, UnansweredError("DNS answers too slowly"))
    return None


async def _require_top_level(lookup: Lookup, domain: str) -> None:
    """The name server of an isolated network says that nothing exists. Raises UnansweredError."""
    top = domain.rpartition(".")[2]
    if not await lookup.exists(top):
        raise UnansweredError(f"the name server does not know .{top}")


def _unjudged(subject: str, error: UnansweredError) -> Finding:
    return Finding(subject, f"could not be judged: {error}", counts=False)


async def _check_spf(lookup: Lookup, domain: str, targets: Sequence[SpfTarget]) -> None:
    spf = await SpfReader(lookup).read(domain)
    named = {target.gateway: await _is_named(lookup, spf, target) for target in targets}
    if missing := [gateway for gateway, verdict in named.items() if verdict is False]:
        raise RecordFaultError(f"has an SPF record that does not name the gateway {', '.join(missing)}")
    if unknown := [gateway for gateway, verdict in named.items() if verdict is None]:
        raise UnansweredError(f"whether its SPF record names the gateway {', '.join(unknown)}")


async def _is_named(lookup: Lookup, spf: Spf, target: SpfTarget) -> bool | None:
    """None: cannot be judged. True also for a gateway in a private network: its mails leave from another address."""
    if any(is_of_one_provider(target.host, name) for name in spf.included()):
        return True
    try:
        addresses = [read_address(text) for text in await _addresses_of(lookup, target.host)]
    except UnansweredError:
        return None
    public = [address for address in addresses if is_public(address)]
    if not public and not target.is_told:
        return bool(addresses) or None
    verdicts = {spf.allows(address) for address in public}
    return True in verdicts or (None if None in verdicts else False)


async def _addresses_of(lookup: Lookup, host: str) -> list[str]:
    try:
        return [str(read_address(host))]
    except ValueError:
        return await lookup.addresses(host)


async def _check_dmarc(lookup: Lookup, domain: str) -> None:
    """A domain without a record has that of a domain above it (RFC 9989)."""
    for name in parents(domain):
        if has_dmarc(await lookup.ask(f"_dmarc.{name}", "TXT")):
            return
    raise RecordFaultError(f"has no DMARC record at _dmarc.{domain}")


async def _check_key(lookup: Lookup, name: str) -> None:
    check_key(name, await lookup.ask(name, "TXT"))


async def _check_any_key(lookup: Lookup, domain: str) -> None:
    """Selectors cannot be listed, but where `_domainkey` does not exist there is none."""
    if not any([await lookup.exists(f"_domainkey.{name}") for name in parents(domain)]):
        raise RecordFaultError(f"has no DKIM key: nothing exists below _domainkey.{domain}")
