"""`MAIL_PROVIDER_EVENTS`: whose events are accepted, and what verifies them (docs/providers)."""

import binascii
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from ..delivery.gateways.settings import PROVIDERS

_FORMAT = (
    "must look like provider=secret; separate providers with commas and several secrets of one with |, and write , | "
    "and % in a secret as %2C, %7C and %25"
)
_TOPIC = re.compile(r"arn:aws(?:-[a-z]+)*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]{1,256}(?:\.fifo)?")
# RFC 5480: every public key on P-256 that is written uncompressed begins with these bytes.
_P256_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_P256_BYTES = 91


def parse_provider_events(text: str) -> dict[str, tuple[str, ...]]:
    """The secrets of each provider, all of which are valid: an old one stays beside the new one during a rotation.

    Raises:
        ValueError: names the fault and the position of the entry, but never the secret.
    """
    found: dict[str, tuple[str, ...]] = {}
    for position, entry in enumerate((part.strip() for part in text.split(",") if part.strip()), start=1):
        where = f"MAIL_PROVIDER_EVENTS, entry {position}"
        provider, separator, secrets = entry.partition("=")
        if not separator or not secrets:
            raise ValueError(f"{where}: {_FORMAT}")
        if provider not in PROVIDERS:
            raise ValueError(f"{where}: the provider must be one of {', '.join(PROVIDERS)}; {_FORMAT}")
        if provider in found:
            raise ValueError(f"{where}: {provider} is given more than once; separate its secrets with |")
        found[provider] = tuple(unquote(secret.strip()) for secret in secrets.split("|"))
        if not all(map(_CHECKS.get(provider, bool), found[provider])):
            raise ValueError(f"{where}: {provider} needs {_NEEDED.get(provider, 'a secret that is not empty')}")
    return found


def _is_topic(secret: str) -> bool:
    return _TOPIC.fullmatch(secret) is not None


def _is_p256_key(secret: str) -> bool:
    try:
        key = b64decode(secret, validate=True)
    except binascii.Error:
        return False
    return key.startswith(_P256_PREFIX) and len(key) == _P256_BYTES


def _is_svix_secret(secret: str) -> bool:
    prefix, encoded = secret[:6], secret[6:].rstrip("=")
    try:
        return prefix == "whsec_" and bool(b64decode(encoded + "=" * (-len(encoded) % 4), validate=True))
    except binascii.Error:
        return False


_CHECKS: Mapping[str, Callable[[str], bool]] = {"ses": _is_topic, "sendgrid": _is_p256_key, "resend": _is_svix_secret}
_NEEDED = {
    "ses": "the ARN of each SNS topic, like arn:aws:sns:eu-central-1:123456789012:mail-events",
    "sendgrid": "the verification key that its settings show (base64, on the curve P-256)",
    "resend": "the signing secret of the webhook, which begins with whsec_",
}
