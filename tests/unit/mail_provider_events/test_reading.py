"""What each provider's events mean, for every type of event that it documents."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.mail.provider_events import brevo, mailgun, postmark, resend, sendgrid, ses
from services.mail.provider_events.event import Event, Reading, Unreadable, code_in, is_dead, mail_ids_of, status_in
from services.mail.provider_events.payload import MAX_EVENTS
from shared.contract.problems import MalformedRequest, PayloadTooLarge
from tests.support.provider_events import NAMES, Sample, samples
from tests.support.provider_events.stand_ins import providers

READ = {
    "ses": ses.read,
    "postmark": postmark.read,
    "mailgun": mailgun.read,
    "sendgrid": sendgrid.read,
    "resend": resend.read,
    "brevo": brevo.read,
}
CASES = [(provider, sample) for provider in NAMES for sample in samples(provider).values()]
NOW = datetime(2026, 2, 4, 10, 11, 12, tzinfo=UTC)


def _read(provider: str, *events: dict[str, Any]) -> list[Reading]:
    return READ[provider](providers()[provider].call(list(events), NOW).body)


def _event(provider: str, event: dict[str, Any]) -> Event:
    (reading,) = _read(provider, event)
    assert isinstance(reading, Event)
    return reading


@pytest.mark.parametrize(("provider", "sample"), CASES, ids=[f"{name}-{sample.name}" for name, sample in CASES])
def test_every_documented_event_is_read_as_what_it_means(provider: str, sample: Sample) -> None:
    mail_id = uuid4()
    event = _event(provider, sample.event(mail_id))
    found = {field.name: getattr(event, field.name) for field in fields(event)}
    assert {name: found[name] for name in sample.expect} == sample.expect
    if event.kind != "other":
        assert event.mail_ids[0] == mail_id
        assert event.was_tried == sample.expect.get("was_tried", True)


@pytest.mark.parametrize("provider", NAMES)
def test_an_event_has_the_same_identity_again_and_another_event_has_not(provider: str) -> None:
    seen = set()
    for sample in samples(provider).values():
        if sample.expect["kind"] == "other":
            continue
        mail_id = uuid4()
        once, again = (_event(provider, sample.event(mail_id, "u1")).event_id for _ in range(2))
        other = _event(provider, sample.event(mail_id, "u2")).event_id
        assert once == again != other
        seen.add(other)
    assert "" not in seen


@pytest.mark.parametrize("provider", NAMES)
def test_an_event_about_something_unknown_has_no_candidates(provider: str) -> None:
    sample = next(iter(samples(provider).values()))
    assert _event(provider, sample.event("not-ours")).mail_ids == ()


@pytest.mark.parametrize("provider", NAMES)
@pytest.mark.parametrize("value", [None, 7, "text", ["list"], {"an": "object"}, True, 1e300])
def test_a_field_of_another_type_breaks_nothing(provider: str, value: object) -> None:
    """Whatever a provider changes, each event is read or called unreadable."""
    for sample in samples(provider).values():
        for changed in _with_each_replaced(sample.event(uuid4()), value):
            (reading,) = _read(provider, changed)
            assert isinstance(reading, Event | Unreadable)


def _with_each_replaced(content: Any, value: object) -> list[Any]:
    """Copies of `content`, in each of which one field, at any depth, has another value."""
    found: list[Any] = []
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, inner in items:
        for replaced in [value, *_with_each_replaced(inner, value)]:
            copy = content.copy()
            copy[name] = replaced
            found.append(copy)
    return found


def test_a_bad_event_of_a_batch_does_not_spoil_the_others() -> None:
    mail_id = uuid4()
    good = samples("sendgrid")["delivered"].event(mail_id)
    readings = sendgrid.read(json.dumps([good, 7, {}, {"event": "bounce"}, None, good]).encode())
    assert [type(reading) for reading in readings] == [Event, Unreadable, Unreadable, Unreadable, Unreadable, Event]
    assert readings[3] == Unreadable("sg_event_id is missing")


def test_text_that_cannot_be_stored_spoils_no_batch() -> None:
    sample = samples("sendgrid")["deferred"].event(uuid4())
    body = json.dumps([sample | {"response": "451 4.4.1 a\x00b\ud800c\nd", "smtp-id": "<a\x00@b>"}]).encode()
    (event,) = sendgrid.read(body + b" ")
    assert isinstance(event, Event)
    assert event.diagnostic == "451 4.4.1 a b?c d"
    assert event.message_ids == ()
    (latin,) = sendgrid.read(body.replace(b"try again", b"\xff"))
    assert isinstance(latin, Event)


def test_a_long_reply_is_cut() -> None:
    sample = samples("sendgrid")["bounce"].event(uuid4())
    (event,) = sendgrid.read(json.dumps([sample | {"reason": "550 5.1.1 " + "x" * 5000}]).encode())
    assert isinstance(event, Event)
    assert len(event.diagnostic or "") == 2000


@pytest.mark.parametrize("provider", [name for name in NAMES if name != "ses"])
@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
def test_a_body_that_is_not_json_is_malformed(provider: str, body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        READ[provider](body)


def test_a_call_with_too_many_events_is_too_large() -> None:
    assert len(sendgrid.read(b"[" + b",".join([b"7"] * MAX_EVENTS) + b"]")) == MAX_EVENTS
    with pytest.raises(PayloadTooLarge):
        sendgrid.read(b"[" + b",".join([b"7"] * (MAX_EVENTS + 1)) + b"]")


def test_two_webhooks_that_report_one_event_to_brevo_report_it_once() -> None:
    event = samples("brevo")["hard bounce"].event(uuid4())
    assert _event("brevo", event).event_id == _event("brevo", event | {"id": 99}).event_id


def test_an_event_of_ses_is_the_same_as_a_notification_and_by_event_publishing() -> None:
    published = samples("ses")["bounce"].event(uuid4(), "u1")
    notified = {"notificationType": "Bounce"} | {name: published[name] for name in ("bounce", "mail")}
    assert _event("ses", notified) == _event("ses", published)


def test_words_of_ses_to_its_topic_are_ignored() -> None:
    call = providers()["ses"].call([{}], NOW)
    content = json.loads(call.body) | {"Message": "Successfully validated SNS topic for Amazon SES event publishing."}
    (reading,) = ses.read(json.dumps(content).encode())
    assert isinstance(reading, Event)
    assert reading.kind == "other"


def test_the_echoed_id_is_believed_before_the_message_id() -> None:
    first, second = uuid4(), uuid4()
    assert mail_ids_of([str(first)], [f"<{second}@x.example>", f"{second}@x.example"]) == (first, second)
    assert mail_ids_of(["nonsense", ""], ["<no-id@x.example>", "@", ""]) == ()
    assert mail_ids_of([], [f"<{str(second).upper()}@x.example>"]) == (UUID(str(second)),)


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        ("smtp; 550 5.1.1 user unknown", "5.1.1", 550),
        ("550-5.7.26 unauthenticated", "5.7.26", 550),
        ("RecipientError: 550 5.5.0 no", "5.5.0", 550),
        ("host 192.0.2.250 said no", None, None),
        ("OK", None, None),
        ("x" * 300 + " 550 5.1.1", None, None),
    ],
)
def test_codes_are_found_where_replies_have_them(text: str, status: str | None, code: int | None) -> None:
    assert (status_in(text), code_in(text)) == (status, code)


@pytest.mark.parametrize(
    ("status", "by_class", "dead"),
    [
        ("5.1.1", False, True),
        ("5.7.1", True, False),
        ("5.0.0", True, True),
        ("5.0.0", False, False),
        (None, True, True),
        (None, False, False),
    ],
)
def test_a_specific_status_decides_before_the_providers_class(status: str | None, by_class: bool, dead: bool) -> None:
    assert is_dead(status, by_class=by_class) is dead
