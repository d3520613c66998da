"""`MAIL_GATEWAYS`: a comma-separated list of URLs in order of preference (docs/gateways.md)."""

import enum
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from shared.contract.addresses import parse_address
from shared.contract.configuration import ConfigurationError
from shared.contract.mail_headers import header_names
from shared.contract.network import is_loopback, smtp_port

_KNOWN = frozenset(
    [
        "name",
        "connections",
        "per_second",
        "from",
        "plain",
        "ca",
        "provider",
        "spf",
        "idempotency_header",
        "idempotency_seconds",
    ]
)
# A month. No provider is known that remembers a key for longer than a few days.
_MOST_IDEMPOTENCY_SECONDS = 30 * 86_400
PROVIDERS = ("ses", "postmark", "mailgun", "sendgrid", "resend", "brevo")
# These end a user name or a password early: the rest of it is read as another part of the URL, or as another URL.
_ENCODE = (
    "in a user name or password, percent-encode the characters / ? # , @ : and % (%2F %3F %23 %2C %40 %3A %25); "
    "docs/gateways.md explains every part"
)


class Tls(enum.StrEnum):
    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    name: str
    host: str
    port: int
    tls: Tls
    username: str | None = None
    password: str | None = None
    connections: int = 8
    per_second: float | None = None
    # The envelope sender at this gateway. The content, From included, is pinned and does not change.
    sender: str | None = None
    # A file of CA certificates (PEM) that replace those of the system for this gateway.
    ca_file: str | None = None
    # Whose service it is: the mail gets the header that this provider's events repeat (`transport_headers`).
    provider: str | None = None
    # The name or address that SPF records must name in place of the host; `no`: none (`audit/sender_dns.py`).
    spf: str | None = None
    # The gateway sends a mail once, however often it gets this header with the same key within these seconds.
    idempotency_header: str | None = None
    idempotency_seconds: float | None = None

    def __repr__(self) -> str:
        """Leaves out the password."""
        return f"GatewaySettings({self.name}, {self.host}:{self.port}, {self.tls})"


def parse_gateways(text: str) -> tuple[GatewaySettings, ...]:
    """The gateways in order of preference.

    Raises:
        ValueError: names the fault and the position of the URL, but never the URL: it may hold a password.
    """
    urls = [url.strip() for url in text.split(",") if url.strip()]
    if not urls:
        raise ValueError("MAIL_GATEWAYS is empty: it needs at least one smtp:// or smtps:// URL")
    gateways = tuple(_parse(url, f"MAIL_GATEWAYS, URL {position}") for position, url in enumerate(urls, start=1))
    if len({gateway.name for gateway in gateways}) < len(gateways):
        raise ValueError("MAIL_GATEWAYS: two gateways have the same name; set different ones with ?name=")
    return gateways


def tls_context(settings: GatewaySettings) -> ssl.SSLContext:
    """A context that verifies: by the gateway's own CA file, by SSL_CERT_FILE, or by the CAs of the system.

    Raises:
        ConfigurationError: the CA file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise ConfigurationError(f"MAIL_GATEWAYS, gateway {settings.name}: ca={settings.ca_file}: {why}") from error


def _parse(url: str, where: str) -> GatewaySettings:
    try:
        parts = urlsplit(url)
        port = parts.port
        # A plus sign is one: no form is sent here, and addresses have them.
        text = parts.query.replace("+", "%2B")
        query = parse_qs(text, keep_blank_values=True, strict_parsing=bool(text))
    except ValueError as error:
        raise ValueError(f"{where}: not a URL; {_ENCODE}") from error
    if parts.scheme not in {"smtp", "smtps"} or not parts.hostname or parts.path not in {"", "/"} or parts.fragment:
        raise ValueError(f"{where}: must look like smtp://user:pass@host:port?name=… or smtps://…; {_ENCODE}")
    if unknown := query.keys() - _KNOWN:
        if "@" in parts.query and "@" not in parts.netloc:
            raise ValueError(f"{where}: unknown parameter; {_ENCODE}")  # its name may be a piece of a password
        raise ValueError(
            f"{where}: unknown parameter {', '.join(sorted(unknown))}; allowed: {', '.join(sorted(_KNOWN))}"
        )
    if repeated := [name for name, values in query.items() if len(values) > 1]:
        raise ValueError(f"{where}: parameter {', '.join(repeated)} is given more than once")
    options = {name: values[0] for name, values in query.items()}
    tls = _tls(parts, options, where)
    if tls is Tls.NONE and "ca" in options:
        raise ValueError(f"{where}: ca= needs TLS, and this gateway is plain; add plain=no, or leave ca out")
    port = port or smtp_port(implicit_tls=tls is Tls.IMPLICIT, logs_in=parts.username is not None)
    idempotency_header, idempotency_seconds = _idempotency(options, where)
    return GatewaySettings(
        name=options.get("name") or f"{parts.hostname}:{port}",
        host=parts.hostname,
        port=port,
        tls=tls,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password or "") if parts.username else None,
        connections=int(_number(options, "connections", 8, where, most=500)),
        per_second=_number(options, "per_second", 0, where, most=1e6) or None,
        sender=_sender(options, where),
        ca_file=options.get("ca") or None,
        provider=_provider(options, where),
        idempotency_header=idempotency_header,
        idempotency_seconds=idempotency_seconds,
        spf=options.get("spf", "").lower() or None,
    )


def _tls(parts: SplitResult, options: Mapping[str, str], where: str) -> Tls:
    plain = options.get("plain", "no")
    if plain not in {"yes", "no"}:
        raise ValueError(f"{where}: plain must be yes or no")
    if parts.scheme == "smtps":
        if plain == "yes":
            raise ValueError(f"{where}: plain=yes is not allowed with smtps://")
        return Tls.IMPLICIT
    if plain == "yes" or ("plain" not in options and is_loopback(parts.hostname or "")):
        return Tls.NONE
    return Tls.STARTTLS


def _provider(options: Mapping[str, str], where: str) -> str | None:
    provider = options.get("provider")
    if provider is not None and provider not in PROVIDERS:
        raise ValueError(f"{where}: provider must be one of {', '.join(PROVIDERS)}")
    return provider


def _sender(options: Mapping[str, str], where: str) -> str | None:
    if not (text := options.get("from")):
        return None
    try:
        sender = parse_address(text).ascii_email
    except ValueError:
        sender = None
    if sender is None:
        raise ValueError(f"{where}: from must be a bare address like bounces@example.com, in ASCII before the @-sign")
    return sender


def _idempotency(options: Mapping[str, str], where: str) -> tuple[str | None, float | None]:
    given = [name for name in ("idempotency_header", "idempotency_seconds") if name in options]
    if not given:
        return None, None
    if len(given) == 1:
        raise ValueError(f"{where}: idempotency_header and idempotency_seconds need each other, and one is missing")
    header = options["idempotency_header"]
    try:
        header_names({header: ""})
    except ValueError as error:
        raise ValueError(f"{where}: idempotency_header: no name for a header of one's own") from error
    return header, _number(options, "idempotency_seconds", 0, where, most=_MOST_IDEMPOTENCY_SECONDS)


def _number(options: Mapping[str, str], name: str, default: float, where: str, *, most: float) -> float:
    try:
        number = float(options.get(name, default))
    except ValueError:
        number = -1.0
    if not 0 < number <= most and name in options:
        raise ValueError(f"{where}: {name} must be a number above 0 and at most {most:g}")
    if name == "connections" and number != int(number):
        raise ValueError(f"{where}: connections must be a whole number")
    return number
