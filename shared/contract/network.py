"""Network addresses, read the same way in both services."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Whether `host`, a name or an address, is this machine. Asks no name server."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def smtp_port(*, implicit_tls: bool, logs_in: bool) -> int:
    """The port of a gateway whose URL names none: submissions (RFC 8314), submission (RFC 6409), smtp."""
    return 465 if implicit_tls else 587 if logs_in else 25
