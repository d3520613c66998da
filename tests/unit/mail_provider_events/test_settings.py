"""MAIL_PROVIDER_EVENTS is read strictly, and its faults are told without its secrets."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import ValidationError

from services.mail.provider_events.registry import sources_of
from services.mail.provider_events.settings import parse_provider_events
from services.mail.settings import Settings
from shared.contract.configuration import ConfigurationError
from shared.process.settings import describe_errors
from tests.support.provider_events import NAMES
from tests.support.provider_events.stand_ins import providers


async def _fetch(_url: str) -> bytes:
    raise AssertionError("nothing is fetched")


def _public_key(curve: ec.EllipticCurve) -> bytes:
    return (
        ec.generate_private_key(curve)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def test_every_provider_is_read_from_one_setting() -> None:
    text = " , ".join(provider.setting for provider in providers().values()) + ","
    assert tuple(parse_provider_events(text)) == NAMES
    assert tuple(sources_of(text, _fetch)) == NAMES
    assert parse_provider_events(text)["postmark"] == ("a,secret|with=signs",)
    assert parse_provider_events(text)["brevo"] == ("old-secret", "new-secret")


def test_without_the_setting_no_provider_is_accepted() -> None:
    assert parse_provider_events("") == {}


P384 = base64.b64encode(_public_key(ec.SECP384R1())).decode()
OFF_CURVE = base64.b64encode(_public_key(ec.SECP256R1())[:-64] + bytes(63) + b"\x07").decode()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("S3cret", "entry 1: must look like provider=secret"),
        ("postmark=ok,brevo=", "entry 2: must look like"),
        ("postmark=ok,S3cret=x", "entry 2: the provider must be one of ses, postmark"),
        ("postmark=ok,S3cret", "entry 2: must look like"),
        ("postmark=S3cret,postmark=b", "entry 2: postmark is given more than once"),
        ("postmark=S3cret|", "postmark needs a secret that is not empty"),
        ("ses=S3cret", "ses needs the ARN of each SNS topic"),
        ("ses=arn:aws:sqs:eu-central-1:123456789012:S3cret", "ses needs"),
        ("sendgrid=S3cret", "sendgrid needs the verification key"),
        (f"sendgrid={P384}", "sendgrid needs"),
        ("resend=S3cret", "resend needs the signing secret"),
        ("resend=whsec_", "resend needs"),
        ("resend=whsec_S3cret!", "resend needs"),
    ],
)
def test_a_fault_names_its_entry_and_never_the_secret(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as refused:
        parse_provider_events(text)
    with pytest.raises(ValidationError) as stopped:
        Settings(mail_provider_events=text)
    told = describe_errors(stopped.value)
    assert words in told
    assert "S3cret" not in told + str(refused.value)


def test_a_key_that_is_no_point_of_the_curve_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="the secret of sendgrid cannot be read"):
        sources_of(f"sendgrid={OFF_CURVE}", _fetch)
