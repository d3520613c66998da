"""Amazon SNS messages: what they say, and whether Amazon signed them for a topic that is listed.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

import binascii
import re
from base64 import b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from ..errors import SignatureInvalid
from .payload import at_path
from .source import check_time

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# SNS repeats a message for an hour at most and keeps its time and signature.
TOLERANCE = timedelta(minutes=75)
_HOST = re.compile(r"sns\.[a-z0-9-]{3,40}\.amazonaws\.com(?:\.cn)?")
_CERTIFICATE_PATH = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem")

NOTIFICATION, CONFIRMATION = "Notification", "SubscriptionConfirmation"
_CONFIRMED_FIELDS = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
# In the order of the signed text. `Subject` is signed only where there is one.
_SIGNED: Mapping[str, tuple[str, ...]] = {
    NOTIFICATION: ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    CONFIRMATION: _CONFIRMED_FIELDS,
    "UnsubscribeConfirmation": _CONFIRMED_FIELDS,
}
_MAY_BE_ABSENT = "Subject"


class Certificates(Protocol):
    """The public keys of Amazon's certificates."""

    async def key_at(self, url: str, now: datetime) -> "RSAPublicKey":
        """Raises SignatureInvalid when there is no valid certificate of SNS, SendAgain when it cannot be fetched."""
        ...


@dataclass(frozen=True, slots=True)
class SnsMessage:
    kind: str
    message: str
    subscribe_url: str


async def verify(content: Any, topics: Collection[str], certificates: Certificates, now: datetime) -> None:
    """Raises SignatureInvalid unless Amazon signed the message lately, and for one of `topics`."""
    fields = _signed_fields(content)
    # Before anything is fetched: only who knows a topic can make us fetch.
    if fields["TopicArn"] not in topics:
        raise SignatureInvalid("The topic is not listed in MAIL_PROVIDER_EVENTS.")
    check_time(_time(fields["Timestamp"]), now, tolerance=TOLERANCE)
    url = at_path(content, "SigningCertURL")
    if not isinstance(url, str) or not is_certificate_url(url):
        raise SignatureInvalid("SigningCertURL is no address of a certificate of Amazon SNS.")
    try:
        signature = b64decode(str(at_path(content, "Signature")), validate=True)
    except (binascii.Error, ValueError):
        raise SignatureInvalid("The signature is not base64.") from None
    key = await certificates.key_at(url, now)
    _check_signature(key, signature, signed_text(fields), str(at_path(content, "SignatureVersion")))


def message_of(content: Any) -> SnsMessage:
    """What a verified message says."""
    fields = _signed_fields(content)
    return SnsMessage(fields["Type"], fields["Message"], fields.get("SubscribeURL", ""))


def is_certificate_url(url: str) -> bool:
    return _is_at_amazon(url) and _CERTIFICATE_PATH.fullmatch(urlsplit(url).path) is not None


def is_subscribe_url(url: str) -> bool:
    return _is_at_amazon(url)


def signed_text(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}\n{value}\n" for name, value in fields.items()).encode("utf-8", "replace")


def _is_at_amazon(url: str) -> bool:
    """Only the host of SNS, over HTTPS, on its port and without a login."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    is_plain = "@" not in parts.netloc and port in (None, 443) and not re.search(r"[\s\\\x00-\x1f]", url)
    return parts.scheme == "https" and is_plain and _HOST.fullmatch(parts.hostname or "") is not None


def _signed_fields(content: Any) -> dict[str, str]:
    kind = at_path(content, "Type")
    names = _SIGNED.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise SignatureInvalid("The body is no message of Amazon SNS: leave raw message delivery off.")
    fields = {name: content[name] for name in names if content.get(name) is not None}
    absent = [name for name in names if name not in fields and name != _MAY_BE_ABSENT]
    if absent or not all(isinstance(value, str) for value in fields.values()):
        raise SignatureInvalid("The message lacks fields that Amazon SNS signs.")
    return fields


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SignatureInvalid("The message has no time.") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _check_signature(key: "RSAPublicKey", signature: bytes, signed: bytes, version: str) -> None:
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - takes memory: only when it is configured
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15  # noqa: PLC0415
    from cryptography.hazmat.primitives.hashes import SHA1, SHA256  # noqa: PLC0415

    algorithms = {"1": SHA1, "2": SHA256}
    if version not in algorithms:
        raise SignatureInvalid("The version of the signature is unknown.")
    try:
        key.verify(signature, signed, PKCS1v15(), algorithms[version]())
    except InvalidSignature:
        raise SignatureInvalid("The signature is wrong.") from None
