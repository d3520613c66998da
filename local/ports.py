"""Free and taken ports on the loopback interface."""

import random
import socket
from collections.abc import Mapping

from .settings import LocalError

LOOPBACK = "127.0.0.1"
# Below the range of outgoing connections (32768 up on Linux): no client socket may occupy a port that is kept for the
# next start.
KEPT_PORTS = range(20_000, 32_000)
TRIES = 200


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
    for _ in range(TRIES):
        port = random.choice(KEPT_PORTS)  # noqa: S311 - nothing secret about a port
        if is_free(port):
            return port
    raise LocalError(f"no free port found between {KEPT_PORTS.start} and {KEPT_PORTS.stop}")


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
