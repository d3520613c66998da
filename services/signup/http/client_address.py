"""The address of a client, behind any number of trusted proxies."""

from starlette.requests import Request

from shared.contract.configuration import ConfigurationError
from shared.contract.network import Network, read_address, read_network


class ClientAddress:
    """The client address of a request, in its one spelling: the peer's, or the one that a trusted proxy reports."""

    def __init__(self, trusted: tuple[Network, ...]) -> None:
        self._trusted = trusted

    @classmethod
    def from_setting(cls, text: str) -> "ClientAddress":
        """Read SIGNUP_TRUSTED_PROXIES. Raises ConfigurationError when it is not a list of networks."""
        try:
            return cls(tuple(read_network(part.strip()) for part in text.split(",") if part.strip()))
        except ValueError as error:
            raise ConfigurationError(f"SIGNUP_TRUSTED_PROXIES must be comma-separated CIDRs: {error}") from None

    def __call__(self, request: Request) -> str:
        peer = _spelled(request.client.host) if request.client else "unknown"
        if not self._trusted or not self._is_trusted(peer):
            return peer
        # Each proxy appends its peer on the right. Entries left of the first untrusted address may be forged.
        client = peer
        for hop in reversed(",".join(request.headers.getlist("x-forwarded-for")).split(",")):
            address = _address_of(hop.strip())
            if address is None:
                break
            client = address
            if not self._is_trusted(address):
                break
        return client

    def is_proxy(self, request: Request) -> bool:
        """Whether a trusted proxy sent this request, so that its other headers may be believed, too."""
        return request.client is not None and bool(self._trusted) and self._is_trusted(_spelled(request.client.host))

    def _is_trusted(self, text: str) -> bool:
        try:
            address = read_address(text)
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _address_of(hop: str) -> str | None:
    """The address of one X-Forwarded-For entry. Some proxies append a port."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(read_address(hop))
    except ValueError:
        return None


def _spelled(host: str) -> str:
    """The one spelling of an address. Other text, such as the name of a Unix socket, stays as it is."""
    try:
        return str(read_address(host))
    except ValueError:
        return host
