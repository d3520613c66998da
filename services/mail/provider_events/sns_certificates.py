"""The certificates that Amazon SNS signs with: fetched from Amazon over verified TLS, checked, and kept.

Their chain is not built, because the files hold the certificate alone. What vouches for a file is that it came from
Amazon's host. The certificate must still be one of SNS and valid now, with an RSA key of at least 2048 bits.
"""

import asyncio
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

from shared.observability.logs import get_logger

from ..errors import SendAgain, SignatureInvalid

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

_log = get_logger(__name__)

# Raises FetchError.
Fetch: TypeAlias = Callable[[str], Awaitable[bytes]]

_SNS_NAME = re.compile(r"sns\.(?:[a-z0-9-]+\.)?amazonaws\.com(?:\.cn)?")
_LEAST_BITS = 2048
# Amazon uses one for months in each region.
_KEPT = 16
_KEEP = timedelta(hours=24)
# More in a minute are not Amazon's doing: made-up addresses must not make us fetch without end.
_FETCHES_A_MINUTE = 10


class FetchError(Exception):
    """Amazon's host did not answer with a file. The text is our own."""


class CertificateStore:
    """`Certificates` over HTTPS. `clock` counts the fetches of a minute."""

    def __init__(self, fetch: Fetch, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetch = fetch
        self._clock = clock
        self._kept: OrderedDict[str, tuple[datetime, RSAPublicKey]] = OrderedDict()
        self._fetched_at: list[float] = []
        # Calls that come at once fetch a new certificate once.
        self._lock = asyncio.Lock()

    async def key_at(self, url: str, now: datetime) -> "RSAPublicKey":
        """See `Certificates.key_at`."""
        # Without the lock: a fetch that hangs must not delay the calls whose certificate is known.
        if (known := self._known(url, now)) is not None:
            return known
        async with self._lock:
            if (known := self._known(url, now)) is not None:
                return known
            certificate, key = _read(await self._fetch_counted(url), now)
            self._kept[url] = min(now + _KEEP, certificate.not_valid_after_utc), key
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return key

    def _known(self, url: str, now: datetime) -> "RSAPublicKey | None":
        until, key = self._kept.get(url, (now, None))
        if now >= until:
            return None
        self._kept.move_to_end(url)
        return key

    async def _fetch_counted(self, url: str) -> bytes:
        minute_ago = self._clock() - 60
        self._fetched_at = [at for at in self._fetched_at if at > minute_ago]
        if len(self._fetched_at) >= _FETCHES_A_MINUTE:
            raise SendAgain("Too many certificates were asked for in the last minute.")
        self._fetched_at.append(self._clock())
        try:
            return await self._fetch(url)
        except FetchError as error:
            _log.warning("sns_certificate_not_fetched", reason=str(error))
            raise SendAgain("Amazon's certificate cannot be fetched now.") from None


def _read(pem: bytes, now: datetime) -> "tuple[x509.Certificate, RSAPublicKey]":
    from cryptography import x509  # noqa: PLC0415 - takes memory: only when it is configured
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey  # noqa: PLC0415

    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except (ValueError, TypeError):
        raise SignatureInvalid("The certificate cannot be read.") from None
    if not certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc:
        raise SignatureInvalid("The certificate is not valid now.")
    if not isinstance(key, RSAPublicKey) or key.key_size < _LEAST_BITS:
        raise SignatureInvalid("The certificate has no RSA key of at least 2048 bits.")
    if not any(_SNS_NAME.fullmatch(name) for name in _names(certificate)):
        raise SignatureInvalid("The certificate is not one of Amazon SNS.")
    return certificate, key


def _names(certificate: "x509.Certificate") -> list[str]:
    """The host names that a certificate is for."""
    from cryptography import x509  # noqa: PLC0415 - as above

    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names = extension.value.get_values_for_type(x509.DNSName)
    except (x509.ExtensionNotFound, ValueError):
        names = []
    common = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return [*names, *(str(attribute.value) for attribute in common)]
