"""SNS messages are believed when Amazon's certificate signed them, and nothing else makes us fetch anything."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.mail.errors import SendAgain, SignatureInvalid
from services.mail.provider_events import ses
from services.mail.provider_events.amazon_fetch import fetch_from_amazon
from services.mail.provider_events.event import Subscription, Unreadable
from services.mail.provider_events.sns import is_certificate_url, is_subscribe_url
from services.mail.provider_events.sns_certificates import CertificateStore, FetchError
from services.mail.provider_events.source import Source
from tests.support.listener import listening
from tests.support.provider_events import Call
from tests.support.provider_events.amazon import CERTIFICATE_URL, SUBSCRIBE_URL, TOPIC, Amazon, certificate

NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture
def amazon() -> Amazon:
    return Amazon()


def _source(amazon: Amazon) -> Source:
    return ses.source([TOPIC], amazon.fetch)


async def _verify(source: Source, call: Call, now: datetime = NOW) -> None:
    await source.verify(call.headers, call.body, now)


async def _refused(amazon: Amazon, call: Call) -> str:
    with pytest.raises(SignatureInvalid) as refused:
        await _verify(_source(amazon), call)
    return refused.value.detail


@pytest.mark.parametrize("version", ["1", "2"])
async def test_both_versions_of_the_signature_are_verified(amazon: Amazon, version: str) -> None:
    await _verify(_source(amazon), amazon.notification("{}", NOW, SignatureVersion=version))


@pytest.mark.parametrize("version", ["", "3", "0"])
async def test_any_other_version_is_refused(amazon: Amazon, version: str) -> None:
    assert "version" in await _refused(amazon, amazon.notification("{}", NOW, SignatureVersion=version))


async def test_a_notification_without_a_subject_is_verified(amazon: Amazon) -> None:
    call = amazon.signed({"Type": "Notification", "Message": "{}", "TopicArn": TOPIC}, NOW)
    await _verify(_source(amazon), call)
    content = json.loads(call.body) | {"Subject": None}
    await _verify(_source(amazon), replace(call, body=json.dumps(content).encode()))


@pytest.mark.parametrize("field", ["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type", "Signature"])
async def test_every_signed_field_counts(amazon: Amazon, field: str) -> None:
    call = amazon.notification("{}", NOW)
    for value in ("other", None, 7):
        content = json.loads(call.body) | {field: value}
        assert await _refused(amazon, replace(call, body=json.dumps(content).encode()))


async def test_a_topic_that_is_not_listed_is_refused_before_anything_is_fetched(amazon: Amazon) -> None:
    assert "topic" in await _refused(amazon, amazon.notification("{}", NOW, TopicArn=TOPIC + "2"))
    assert "topic" in await _refused(amazon, amazon.confirmation(NOW, TopicArn=TOPIC + "2"))
    assert amazon.fetched == []


@pytest.mark.parametrize(
    "url",
    [
        "http://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-central-1.amazonaws.com.evil.example/SimpleNotificationService-0.pem",
        "https://evil.example/SimpleNotificationService-0.pem",
        "https://sns.eu-central-1.amazonaws.com@evil.example/SimpleNotificationService-0.pem",
        "https://user@sns.eu-central-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-central-1.amazonaws.com:8443/SimpleNotificationService-0.pem",
        "https://sns.eu-central-1.amazonaws.com/bucket/SimpleNotificationService-0.pem",
        "https://sns.eu-central-1.amazonaws.com/SimpleNotificationService-0.pem/../x",
        "https://sns.eu-central-1.amazonaws.com/other.pem",
        "https://s3.eu-central-1.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.a.b.amazonaws.com/SimpleNotificationService-0.pem",
        "https://sns.eu-central-1.amazonaws.com\\@evil.example/SimpleNotificationService-0.pem",
        "https://[::1]/SimpleNotificationService-0.pem",
        "https://sns.eu-central-1.amazonaws.com:x/SimpleNotificationService-0.pem",
        "",
    ],
)
async def test_a_certificate_anywhere_but_at_amazon_is_refused_and_not_fetched(amazon: Amazon, url: str) -> None:
    assert not is_certificate_url(url)
    assert "SigningCertURL" in await _refused(amazon, amazon.notification("{}", NOW, SigningCertURL=url))
    assert amazon.fetched == []


def test_certificates_of_every_partition_are_at_amazon() -> None:
    for host in ("sns.us-east-1.amazonaws.com", "sns.cn-north-1.amazonaws.com.cn", "sns.us-gov-west-1.amazonaws.com"):
        assert is_certificate_url(f"https://{host}/SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem")
        assert is_certificate_url(f"https://{host}:443/SimpleNotificationService-0.pem")


async def test_a_certificate_is_fetched_once(amazon: Amazon) -> None:
    source = _source(amazon)
    await asyncio.gather(*(_verify(source, amazon.notification("{}", NOW)) for _ in range(5)))
    await _verify(source, amazon.notification("{}", NOW), NOW + timedelta(minutes=59))
    assert amazon.fetched == [CERTIFICATE_URL]


async def test_a_certificate_is_fetched_again_after_a_day(amazon: Amazon) -> None:
    source = _source(amazon)
    await _verify(source, amazon.notification("{}", NOW))
    later = NOW + timedelta(hours=23, minutes=58)
    await _verify(source, amazon.notification("{}", later), later)
    assert len(amazon.fetched) == 1
    # A self-signed one is valid for a day from now, so that it ends with its own time.
    with pytest.raises(SignatureInvalid, match="not valid now"):
        await _verify(source, amazon.notification("{}", NOW + timedelta(days=2)), NOW + timedelta(days=2))
    assert len(amazon.fetched) == 2


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda key: certificate(key, "sns.evil.example"), "not one of Amazon SNS"),
        (lambda key: certificate(key, "s3.amazonaws.com"), "not one of Amazon SNS"),
        (lambda key: certificate(key, began=timedelta(days=-3)), "not valid now"),
        (lambda key: certificate(key, began=timedelta(days=1)), "not valid now"),
        (lambda _: certificate(rsa.generate_private_key(65537, 1024)), "2048 bits"),  # noqa: S505
        (lambda _: certificate(ec.generate_private_key(ec.SECP256R1())), "RSA"),  # type: ignore[arg-type]
        (lambda _: b"<html>", "cannot be read"),
        (lambda _: b"", "cannot be read"),
    ],
)
async def test_a_certificate_that_is_not_amazons_is_refused(
    amazon: Amazon, key: rsa.RSAPrivateKey, made: Any, reason: str
) -> None:
    amazon.served[CERTIFICATE_URL] = made(key)
    assert reason in await _refused(amazon, amazon.notification("{}", NOW))


async def test_a_certificate_of_a_region_is_amazons(amazon: Amazon) -> None:
    amazon.served[CERTIFICATE_URL] = certificate(amazon.key, "sns.eu-central-1.amazonaws.com")
    await _verify(_source(amazon), amazon.notification("{}", NOW))


async def test_another_key_than_the_certificates_is_refused(amazon: Amazon, key: rsa.RSAPrivateKey) -> None:
    amazon.served[CERTIFICATE_URL] = certificate(key)
    assert await _refused(amazon, amazon.notification("{}", NOW)) == "The signature is wrong."


async def test_a_certificate_that_cannot_be_fetched_makes_amazon_send_again(amazon: Amazon) -> None:
    source = _source(amazon)
    pem = amazon.served.pop(CERTIFICATE_URL)
    with pytest.raises(SendAgain):
        await _verify(source, amazon.notification("{}", NOW))
    amazon.served[CERTIFICATE_URL] = pem
    await _verify(source, amazon.notification("{}", NOW))


async def test_made_up_certificates_are_not_fetched_without_end(amazon: Amazon) -> None:
    clock = [0.0]
    store = CertificateStore(amazon.fetch, clock=lambda: clock[0])
    for number in range(30):
        with pytest.raises(SendAgain):
            await store.key_at(f"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{number}.pem", NOW)
    assert len(amazon.fetched) == 10
    clock[0] = 61.0
    await store.key_at(CERTIFICATE_URL, NOW)


async def test_a_fetch_that_hangs_delays_no_call_whose_certificate_is_known(amazon: Amazon) -> None:
    hanging = asyncio.Event()

    async def fetch(url: str) -> bytes:
        if url != CERTIFICATE_URL:
            hanging.set()
            await asyncio.Event().wait()
        return await amazon.fetch(url)

    store = CertificateStore(fetch)
    await store.key_at(CERTIFICATE_URL, NOW)
    stuck = asyncio.create_task(store.key_at(CERTIFICATE_URL.replace(".pem", "1.pem"), NOW))
    await hanging.wait()
    await store.key_at(CERTIFICATE_URL, NOW)
    stuck.cancel()


async def test_a_listed_topic_is_subscribed(amazon: Amazon) -> None:
    source, call = _source(amazon), amazon.confirmation(NOW)
    await _verify(source, call)
    assert source.read(call.body) == [Subscription(SUBSCRIBE_URL)]
    assert source.confirm is not None
    await source.confirm(SUBSCRIBE_URL)
    assert amazon.fetched[-1] == SUBSCRIBE_URL
    with pytest.raises(SendAgain):
        await source.confirm(SUBSCRIBE_URL + "unknown")


async def test_a_subscription_is_not_confirmed_anywhere_but_at_amazon(amazon: Amazon) -> None:
    url = "https://evil.example/?Action=ConfirmSubscription"
    assert not is_subscribe_url(url)
    call = amazon.confirmation(NOW, SubscribeURL=url)
    assert ses.read(call.body) == [Unreadable("SubscribeURL does not lead to Amazon SNS")]


async def test_the_end_of_a_subscription_is_ignored(amazon: Amazon) -> None:
    call = amazon.confirmation(NOW, Type="UnsubscribeConfirmation")
    await _verify(_source(amazon), call)
    (reading,) = ses.read(call.body)
    assert getattr(reading, "kind", None) == "other"


@asynccontextmanager
async def _https(tmp_path: Path, answer: bytes) -> AsyncIterator[tuple[str, str]]:
    """A server with a certificate for localhost: its URL and its CA file."""
    import ssl  # noqa: PLC0415

    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415

    key = rsa.generate_private_key(65537, 2048)
    pem, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    pem.write_bytes(certificate(key, "localhost"))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, private)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()

    async with listening(serve, tls=context) as port:
        yield f"https://localhost:{port}/", str(pem)


async def test_a_file_is_fetched_over_verified_tls(tmp_path: Path) -> None:
    async with _https(tmp_path, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfile") as (url, ca_file):
        assert await fetch_from_amazon(url, allow_private=True, ca_file=ca_file) == b"file"
        with pytest.raises(FetchError, match="certificate"):
            await fetch_from_amazon(url, allow_private=True)


async def test_a_private_address_is_never_asked(tmp_path: Path) -> None:
    async with _https(tmp_path, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfile") as (url, ca_file):
        with pytest.raises(FetchError, match="not public"):
            await fetch_from_amazon(url, ca_file=ca_file)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: https://sns.eu-west-1.amazonaws.com/\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n", "403"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70_000, "too large"),
        (b"", "failed"),
    ],
)
async def test_an_answer_that_is_no_small_file_is_refused(tmp_path: Path, answer: bytes, reason: str) -> None:
    async with _https(tmp_path, answer) as (url, ca_file):
        with pytest.raises(FetchError, match=reason):
            await fetch_from_amazon(url, allow_private=True, ca_file=ca_file)
