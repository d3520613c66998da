"""Only the provider's own calls of now are believed."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.mail.errors import SignatureInvalid
from services.mail.provider_events.registry import sources_of
from services.mail.provider_events.source import Once, Source
from tests.support.provider_events import NAMES, Call, samples
from tests.support.provider_events.stand_ins import JSON, Mailgun, providers


def _source(name: str) -> Source:
    async def fetch(_url: str) -> bytes:
        raise AssertionError("nothing is fetched")

    provider: Any = providers()[name]
    return sources_of(provider.setting, getattr(provider, "fetch", fetch))[name]


def _call(name: str, at: datetime) -> Call:
    sample = next(iter(samples(name).values()))
    return providers()[name].call([sample.event(uuid4())], at)


async def _verify(name: str, call: Call, now: datetime | None = None) -> Once | None:
    return await _source(name).verify(call.headers, call.body, now or datetime.now(UTC))


async def _refusal(name: str, call: Call, now: datetime | None = None) -> str:
    with pytest.raises(SignatureInvalid) as refused:
        await _verify(name, call, now)
    assert refused.value.headers["WWW-Authenticate"]
    return refused.value.detail


@pytest.mark.parametrize("name", NAMES)
async def test_a_call_of_the_provider_is_verified(name: str) -> None:
    await _verify(name, _call(name, datetime.now(UTC)))


@pytest.mark.parametrize("name", NAMES)
async def test_a_forged_call_is_refused(name: str) -> None:
    call = _call(name, datetime.now(UTC))
    assert await _refusal(name, providers()[name].forged(call))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b"null", b"\xff\x00", b'{"signature": 7}', b'{"Type": "Notification"}']
)
async def test_a_call_without_any_signature_is_refused(name: str, body: bytes) -> None:
    assert await _refusal(name, Call({}, body))


@pytest.mark.parametrize("name", NAMES)
async def test_another_providers_call_is_refused(name: str) -> None:
    for other in set(NAMES) - {name}:
        assert await _refusal(name, _call(other, datetime.now(UTC)))


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("ses", timedelta(minutes=75)), ("mailgun", timedelta(hours=9)), ("sendgrid", timedelta(hours=25))],
)
async def test_a_signed_time_may_be_as_old_as_the_providers_retries_and_no_older(
    name: str, tolerance: timedelta
) -> None:
    at = datetime.now(UTC).replace(microsecond=0)
    call = _call(name, at)
    await _verify(name, call, at + tolerance)
    assert await _refusal(name, call, at + tolerance + timedelta(seconds=1)) == "The signed time is too long ago."
    await _verify(name, call, at - timedelta(minutes=5))
    assert "future" in await _refusal(name, call, at - timedelta(minutes=5, seconds=1))


@pytest.mark.parametrize("minutes", [-6, 6])
async def test_resend_signs_each_attempt_so_its_time_is_now(minutes: int) -> None:
    call = _call("resend", datetime.now(UTC) + timedelta(minutes=minutes))
    assert await _refusal("resend", call) == "The signed time is not within 5 minutes of ours."


async def test_every_secret_of_a_provider_is_valid_during_a_rotation() -> None:
    for secret in ("old-secret", "new-secret"):
        await _verify("brevo", Call({"authorization": f"Bearer {secret}"}, b"{}"))
    assert await _refusal("brevo", Call({"authorization": "Bearer old-secret|new-secret"}, b"{}"))


@pytest.mark.parametrize("name", ["postmark", "brevo"])
@pytest.mark.parametrize(
    "header",
    [
        "",
        "Basic",
        "Basic !",
        "Bearer",
        "Bearer ",
        "Digest x",
        "Basic " + base64.b64encode(b"\xff").decode(),
        "Bearer ü",
    ],
)
async def test_an_authorization_header_of_any_other_form_is_refused(name: str, header: str) -> None:
    assert await _refusal(name, Call({"authorization": header}, b"{}"))


async def test_basic_credentials_match_by_the_password_or_as_a_whole() -> None:
    async def fetch(_url: str) -> bytes:
        return b""

    source = sources_of("postmark=user:pass", fetch)["postmark"]
    for credentials in (b"user:pass", b"anyone:user:pass"):
        header = f"basic {base64.b64encode(credentials).decode()}"
        await source.verify({"authorization": header}, b"", datetime.now(UTC))
    header = f"Basic {base64.b64encode(b'user:').decode()}"
    with pytest.raises(SignatureInvalid):
        await source.verify({"authorization": header}, b"", datetime.now(UTC))


async def test_a_signature_of_mailgun_names_the_body_that_it_came_with() -> None:
    """Mailgun signs a time and a token, so the body could be anything."""
    mailgun = Mailgun()
    event = samples("mailgun")["delivered"].event(uuid4())
    timestamp = str(int(datetime.now(UTC).timestamp()))
    once = await _verify("mailgun", mailgun.signed(event, timestamp, "token"))
    again = await _verify("mailgun", mailgun.signed(dict(reversed(event.items())), timestamp, "token"))
    other = await _verify("mailgun", mailgun.signed(event | {"event": "failed"}, timestamp, "token"))
    assert isinstance(once, Once)
    assert isinstance(other, Once)
    assert once == again
    assert (other.token, other.body != once.body) == (once.token, True)


async def test_the_parent_accounts_signature_is_as_good_as_a_subaccounts() -> None:
    call = _call("mailgun", datetime.now(UTC))
    content = json.loads(call.body)
    content["signature"] |= {"parent-signature": content["signature"]["signature"], "signature": "0" * 64}
    await _verify("mailgun", replace(call, body=json.dumps(content).encode()))


@pytest.mark.parametrize("field", ["timestamp", "token", "signature"])
@pytest.mark.parametrize("value", ["", None, 7.5, "ü", "-1", "9" * 30, ["a"]])
async def test_a_signature_of_mailgun_with_a_strange_field_is_refused(field: str, value: object) -> None:
    call = _call("mailgun", datetime.now(UTC))
    content = json.loads(call.body)
    content["signature"][field] = value
    assert await _refusal("mailgun", replace(call, body=json.dumps(content).encode()))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("timestamp", "1770199872.5"),
        ("timestamp", "9" * 40),
        ("signature", ""),
        ("signature", "!"),
        ("signature", "AAAA"),
    ],
)
async def test_a_strange_header_of_sendgrid_is_refused(header: str, value: str) -> None:
    call = _call("sendgrid", datetime.now(UTC))
    headers = call.headers | {f"x-twilio-email-event-webhook-{header}": value}
    assert await _refusal("sendgrid", replace(call, headers=headers))


@pytest.mark.parametrize(
    "headers",
    [
        {"svix-signature": "v1"},
        {"svix-signature": "v1,!"},
        {"svix-signature": "v2,AAAA"},
        {"svix-timestamp": "now"},
        {"svix-timestamp": "nan"},
        {"svix-id": ""},
    ],
)
async def test_a_strange_header_of_resend_is_refused(headers: dict[str, str]) -> None:
    call = _call("resend", datetime.now(UTC))
    assert await _refusal("resend", replace(call, headers=call.headers | headers))


async def test_a_body_of_resend_that_is_not_utf8_is_refused() -> None:
    call = _call("resend", datetime.now(UTC))
    assert await _refusal("resend", Call(JSON | call.headers, b"\xff"))
