"""Free and taken ports on the loopback interface."""

import random
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace

from .credentials import Vault
from .settings import OPERATIONS_PORTS, LocalError, Settings

LOOPBACK = "127.0.0.1"
# Below the range of outgoing connections (32768 up on Linux): no client socket may occupy a port that is kept for the
# next start.
KEPT_PORTS = range(20_000, 32_000)
TRIES = 200
_held: dict[int, int] = {}  # by port, the descriptor that says so to other processes


def is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As the servers do: a connection in TIME_WAIT from the last run does not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def pick_free() -> int:
    """A free port. It is bound later; until this process ends, no other call is given it, in whatever process."""
    for _ in range(TRIES):
        port = random.choice(KEPT_PORTS)  # noqa: S311 - nothing secret about a port
        if port not in _held and is_free(port) and _hold(port):
            return port
    raise LocalError(f"no free port found between {KEPT_PORTS.start} and {KEPT_PORTS.stop}")


def _hold(port: int) -> bool:
    """Whether this process may have the port, from now until it ends. Only Linux has the names that processes share."""
    if sys.platform != "linux":
        _held[port] = -1
        return True
    mark = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        mark.bind(f"\0counterfoil-port-{port}")
    except OSError:
        mark.close()
        return False
    _held[port] = mark.detach()
    return True


def require_free(ports: Mapping[str, int]) -> None:
    """Raises LocalError naming every taken port and the variable that changes it."""
    taken = {variable: port for variable, port in ports.items() if not is_free(port)}
    if taken:
        raise LocalError(
            "\n".join(
                f"port {port} is taken by another program; choose another one with {variable}=…"
                for variable, port in taken.items()
            )
        )


def kept_port(vault: Vault, variable: str, requested: int | None) -> int:
    """The port that was asked for, or that of the last start, or a free one.

    Raises:
        LocalError: the port that was asked for is taken.
    """
    if requested is not None:
        require_free({variable: requested})
        _hold(requested)
        return requested
    kept = int(vault.get(variable) or 0)
    if kept and is_free(kept) and (kept in _held or _hold(kept)):
        return kept
    return int(vault.keep(variable, str(pick_free())))


def with_operations_ports(settings: Settings, vault: Vault, usual: Mapping[str, int] = OPERATIONS_PORTS) -> Settings:
    """The settings with the operations ports among `ports`: the usual ones, unless another program has them."""
    ports = dict(settings.ports)
    for variable, requested in settings.operations_ports.items():
        port = usual[variable]
        is_usual = requested is None and vault.get(variable) is None and port not in ports.values() and is_free(port)
        ports[variable] = port if is_usual else kept_port(vault, variable, requested)
    return replace(settings, ports=ports)
