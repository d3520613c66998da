"""Time spans as IDs, key rings, and the secrets that are derived from them."""

from datetime import UTC, datetime, timedelta

import pytest

from shared.contract.configuration import ConfigurationError
from shared.contract.ids import uuid7
from shared.contract.key_ring import KeyRing, UnknownSigningKeyError
from shared.webhooks.delivery_log import Span
from shared.webhooks.secret import derive_secret

OLD, NEW = "o" * 32, "n" * 32


def ring(text: str) -> KeyRing:
    return KeyRing.read("A_SETTING", text, use="signs something")


def test_the_ids_of_a_span_include_what_was_written_a_little_before_and_after_it() -> None:
    now = datetime.now(UTC)
    lowest, above = Span(now, now).ids()
    assert lowest < uuid7() < above
    lowest, above = Span(now + timedelta(minutes=2), None).ids()
    assert uuid7() < lowest < above
    lowest, above = Span(None, now - timedelta(minutes=2)).ids()
    assert lowest < above < uuid7()


@pytest.mark.parametrize(
    "span", [Span(), Span(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))], ids=["open", "all time"]
)
def test_the_widest_span_includes_every_id(span: Span) -> None:
    lowest, above = span.ids()
    assert lowest < uuid7() < above


def test_a_secret_is_the_same_for_ever_and_differs_by_subscriber_version_and_key() -> None:
    keys, subscriber = ring(f"{NEW},{OLD}"), uuid7()
    new, old = keys.keys
    secrets = {
        derive_secret(keys, subscriber, 1, new),
        derive_secret(keys, subscriber, 2, new),
        derive_secret(keys, subscriber, 1, old),
        derive_secret(keys, uuid7(), 1, new),
    }
    assert len(secrets) == 4
    assert derive_secret(ring(OLD), subscriber, 1, old) == derive_secret(keys, subscriber, 1, old)
    assert all(secret.startswith("whsec_") for secret in secrets)


def test_a_secret_of_a_key_that_is_gone_names_the_setting() -> None:
    (old,) = ring(OLD).keys
    with pytest.raises(UnknownSigningKeyError, match=f"A_SETTING.*{old}"):
        derive_secret(ring(NEW), uuid7(), 1, old)


@pytest.mark.parametrize("setting", ["", " , ", "short", f"{OLD},short"])
def test_missing_and_short_secrets_are_refused(setting: str) -> None:
    with pytest.raises(ConfigurationError, match="A_SETTING"):
        ring(setting)
