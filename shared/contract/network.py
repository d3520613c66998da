"""Network addresses, read the same way in both services: one address has one spelling.

Every address of a peer, a header or a setting is read here. An IPv4 address that is written as an IPv6 address is the
IPv4 address, and a zone (`%eth0`) is no part of an address: it names an interface of this machine.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TypeAlias

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

# `::ffff:0:0/96`, RFC 4291 section 2.5.5.2.
_MAPPED_BITS = 96
# RFC 6052 section 2.1: an IPv4 address behind a translator.
_NAT64 = IPv6Network("64:ff9b::/96")
# RFC 4291 section 2.4: every other part of IPv6 is local, special or not assigned. Site-local addresses (fec0::/10) are
# among them, which `is_global` takes for global ones.
_GLOBAL_UNICAST = IPv6Network("2000::/3")
# RFC 9637, newer than Python's table.
_DOCUMENTATION = IPv6Network("3fff::/20")
# A network gives each subscriber at least this much IPv6 space (RFC 6177), and a site up to that much.
_CLIENT_PREFIX, _SITE_PREFIX = 64, 48
# What hosting companies give and take together.
_IPV4_NETWORK_PREFIX = 24


# Most peers are the same few proxies, and reading one address was a tenth of a signup's time in its API (`cProfile`).
@lru_cache(maxsize=1024)
def read_address(text: str) -> Address:
    """Raises ValueError when `text` is not an address. Asks no name server."""
    plain = text.partition("%")[0] if ":" in text else text
    address = ip_address(plain)
    return address if isinstance(address, IPv4Address) else address.ipv4_mapped or address


def read_network(text: str) -> Network:
    """A network in CIDR notation. Raises ValueError, also when bits of the host part are set."""
    network = ip_network(text)
    if isinstance(network, IPv4Network) or network.prefixlen < _MAPPED_BITS or network[0].ipv4_mapped is None:
        return network
    return IPv4Network((network[0].ipv4_mapped, network.prefixlen - _MAPPED_BITS))


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine. Asks no name server."""
    if host == "localhost":
        return True
    try:
        return read_address(host).is_loopback
    except ValueError:
        return False


def is_public(address: Address) -> bool:
    """Reachable from anywhere: not local, private, multicast or reserved, and no tunnel to such an address."""
    inner = _tunneled(address)
    if inner is not None:
        return is_public(inner)
    if isinstance(address, IPv6Address) and (address not in _GLOBAL_UNICAST or address in _DOCUMENTATION):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def client_of(address: Address) -> str:
    """What counts as one client: an IPv4 address, also one inside a tunnel, or an IPv6 network of 64 bits.

    A tunnel's own prefix says nothing: one IPv4 address owns 65,536 networks of 6to4, and all clients of a translator
    or a Teredo server share one.
    """
    plain = _tunneled(address) or address
    if isinstance(plain, IPv4Address):
        return str(plain)
    return str(IPv6Network((plain, _CLIENT_PREFIX), strict=False).network_address)


def network_of(address: Address) -> str:
    """The network of a client: of 24 bits for IPv4, also inside a tunnel; of 48 bits, a whole site, for IPv6."""
    plain = _tunneled(address) or address
    if isinstance(plain, IPv4Address):
        return str(IPv4Network((plain, _IPV4_NETWORK_PREFIX), strict=False))
    return str(IPv6Network((plain, _SITE_PREFIX), strict=False))


def _tunneled(address: Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to: mapped, 6to4 (RFC 3056), Teredo (RFC 4380) or NAT64."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def smtp_port(*, implicit_tls: bool, logs_in: bool) -> int:
    """The port of a gateway whose URL names none: submissions (RFC 8314), submission (RFC 6409), smtp."""
    return 465 if implicit_tls else 587 if logs_in else 25
