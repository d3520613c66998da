"""The mailbox that bounces are fetched from, as a URL: `imaps://user@host/INBOX` (docs/bounce-mailbox.md)."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from shared.contract.network import is_loopback

from ..delivery.gateways.settings import Tls

_LOOKS_LIKE = "must look like imaps://user@host/INBOX, with the characters @ : / ? # % of a user name percent-encoded"
# RFC 3501 section 5.1.3: other characters of a folder's name stand in an encoding of its own.
_PRINTABLE = re.compile(r"[ -~]+")


@dataclass(frozen=True, slots=True)
class ImapAccount:
    """Where a mailbox is and who may read it. The password is not part of it."""

    host: str
    port: int
    tls: Tls
    username: str
    folder: str
    # A file of CA certificates (PEM) that replace those of the system.
    ca_file: str | None = None


def parse_imap_url(url: str) -> ImapAccount:
    """Raises ValueError. It never repeats the URL, which may hold a password by mistake."""
    try:
        parts = urlsplit(url)
        port = parts.port
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise ValueError(f"the URL {_LOOKS_LIKE}") from None
    if parts.password is not None:
        raise ValueError(
            "the URL holds a password, which every user of this machine can read from the list of processes: "
            "put it into MAIL_BOUNCE_IMAP_PASSWORD or into the file that MAIL_BOUNCE_IMAP_PASSWORD_FILE names, "
            "and change it"
        )
    username, folder = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
    names_a_user = bool(username) and username.isprintable()
    if parts.scheme not in {"imaps", "imap"} or not parts.hostname or not names_a_user or parts.fragment:
        raise ValueError(f"the URL {_LOOKS_LIKE}")
    if query.keys() - {"ca"} or len(query.get("ca", [""])) > 1:
        raise ValueError("the URL has an unknown parameter; allowed: ca, once")
    tls = _tls(parts)
    if tls is Tls.NONE and "ca" in query:
        raise ValueError("ca= needs TLS: use imaps://")
    return ImapAccount(
        host=parts.hostname,
        port=port or (993 if tls is Tls.IMPLICIT else 143),
        tls=tls,
        username=username,
        folder=folder_name(folder),
        ca_file=query.get("ca", [""])[0] or None,
    )


def folder_name(name: str) -> str:
    """Return `name`. Raises ValueError when it cannot stand in a command."""
    if not _PRINTABLE.fullmatch(name):
        raise ValueError(
            "the name of a folder must be given, in ASCII: one with other characters as the server writes it "
            "(modified UTF-7, RFC 3501 section 5.1.3)"
        )
    return name


def _tls(parts: SplitResult) -> Tls:
    """Always encrypted, except on this machine."""
    if parts.scheme == "imaps":
        return Tls.IMPLICIT
    return Tls.NONE if is_loopback(parts.hostname or "") else Tls.STARTTLS
