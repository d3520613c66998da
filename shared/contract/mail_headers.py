"""Custom headers of a mail: allowed names, values that programs parse, and reserved names."""

import re

from .fields import misplaced

# Characters of a header name (RFC 5322 section 2.2); `EmailMessage` would accept CR and LF here.
_HEADER_NAME = re.compile(r"[!-9;-~]{1,76}")

# Headers that the mail service or the transport writes.
_RESERVED_HEADERS = frozenset(
    [
        "from",
        "to",
        "cc",
        "bcc",
        "sender",
        "reply-to",
        "subject",
        "date",
        "message-id",
        "mime-version",
        "return-path",
        "received",
        "auto-submitted",
        "dkim-signature",
        "arc-seal",
        "resent-from",
        "resent-sender",
        "resent-to",
        "resent-date",
        "errors-to",
    ]
)

# URLs in angle brackets (RFC 2369); programs parse them, so they are sent unchanged.
_HEADERS_OF_URLS = frozenset(
    ["list-help", "list-unsubscribe", "list-subscribe", "list-post", "list-owner", "list-archive"]
)

_URLS = re.compile(r"<[a-z][a-z0-9+.-]*:[!-;=?-~]+>(, *<[a-z][a-z0-9+.-]*:[!-;=?-~]+>)*", re.IGNORECASE)

_ONE_CLICK = "list-unsubscribe-post"


def header_names(headers: dict[str, str]) -> dict[str, str]:
    for name in headers:
        if not _HEADER_NAME.fullmatch(name):
            raise misplaced(
                name, "Is no header name: must be 1 to 76 printable ASCII characters without spaces and colons"
            )
        if name.lower() in _RESERVED_HEADERS or name.lower().startswith(("content-", "x-counterfoil-")):
            raise misplaced(name, "Is written by the mail service itself and cannot be set")
    if len({name.lower() for name in headers}) != len(headers):
        raise ValueError("Must name each header once; upper and lower case are the same")
    return headers


def is_of_urls(header_name: str) -> bool:
    """Whether a header holds URLs that programs parse."""
    return header_name.lower() in _HEADERS_OF_URLS


def custom_headers(headers: dict[str, str]) -> dict[str, str]:
    """Validate custom headers: `header_names`, and the values that mailbox providers parse."""
    header_names(headers)
    lower = {name.lower(): value for name, value in headers.items()}
    for name, value in headers.items():
        if is_of_urls(name) and not _URLS.fullmatch(value) and (name.lower(), value) != ("list-post", "NO"):
            raise misplaced(name, "Must be ASCII URLs in angle brackets with commas between them (RFC 2369)")
        if name.lower() == _ONE_CLICK:
            if value != "List-Unsubscribe=One-Click":
                raise misplaced(name, "Must be `List-Unsubscribe=One-Click` (RFC 8058)")
            if "<https:" not in lower.get("list-unsubscribe", "").lower():
                raise misplaced(name, "Needs a List-Unsubscribe header with an https URL (RFC 8058)")
    return headers
