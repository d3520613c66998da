"""`MAIL_BOUNCE_LISTEN`: where mail servers bring notices by LMTP, and the socket that waits there."""

import errno
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from shared.contract.configuration import ConfigurationError

# A mail server opens a handful of connections at once; the others wait until the loop takes them.
_BACKLOG = 64
# The folder decides who reaches the socket, as for any mail server's: its own user is another one than ours.
_SOCKET_MODE = 0o666
_MOST_PORT = 65_535


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Either a path, or a host and a port."""

    host: str = ""
    port: int = 0
    path: str = ""


def parse_listen_address(text: str) -> ListenAddress:
    """Read `host:port`, `[IPv6]:port` or `unix:/path`. Raises ValueError."""
    kind, _, path = text.partition(":")
    if kind == "unix":
        if not path.startswith("/"):
            raise ValueError("a socket needs a whole path, like unix:/run/counterfoil/bounces")
        return ListenAddress(path=path)
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal() and 0 < int(port) <= _MOST_PORT):
        raise ValueError("must look like 127.0.0.1:2003, [::1]:2003 or unix:/run/counterfoil/bounces")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise ValueError("an IPv6 address needs brackets, like [::1]:2003")
    return ListenAddress(host=host, port=int(port))


def open_socket(address: ListenAddress) -> socket.socket:
    """Bound and listening. A socket that a killed process left at the path is replaced.

    Raises:
        ConfigurationError: the address cannot be opened, or another process listens there.
    """
    try:
        if address.path:
            return _open_path(address.path)
        family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
        return socket.create_server((address.host, address.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        where = f"unix:{address.path}" if address.path else f"{address.host}:{address.port}"
        raise ConfigurationError(f"MAIL_BOUNCE_LISTEN={where} cannot be opened: {error.strerror}") from None


def _open_path(path: str) -> socket.socket:
    if _is_left_behind(path):
        Path(path).unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(path)
        Path(path).chmod(_SOCKET_MODE)
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    return listening


def _is_left_behind(path: str) -> bool:
    """Whether a socket is there and no process listens on it. Raises OSError when one does."""
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            return False
    except FileNotFoundError:
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            return True
    raise OSError(errno.EADDRINUSE, "Address already in use")
