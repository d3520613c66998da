"""What POST /v1/signups accepts and refuses. Each table is one test: pytest shows the rows that differ.

A refusal is a problem that names the place and the reason, and it stores no row.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
import pytest

from services.mail.intake.template_engine import Templates
from tests.support.apis import Api
from tests.support.nasty import (
    ADDRESSES_REFUSED,
    ADDRESSES_TAKEN,
    METADATA_TAKEN,
    NAMES_REFUSED,
    NAMES_TAKEN,
    WRONG_METADATA,
    WRONG_SHAPES,
)
from tests.support.signups import SignupLedger

BO = {"email": "bo@example.org", "name": "Bo"}


async def refusals(api: Api, bodies: Mapping[Any, tuple[bytes, str, str]]) -> dict[Any, str]:
    """The bodies not refused as expected, each with its answer. `bodies` has the expected place and reason."""
    wrong = {}
    headers = {"Content-Type": "application/json", "Idempotency-Key": "k"}
    for label, (body, pointer, reason) in bodies.items():
        answer = await api.http.post("/v1/signups", content=body, headers=headers)
        errors = answer.json().get("errors", [])
        is_problem = answer.status_code == 422 and answer.headers["Content-Type"] == "application/problem+json"
        if not is_problem or not any(e["pointer"] == pointer and reason in e["detail"] for e in errors):
            wrong[label] = answer.text
    return wrong


async def test_addresses_are_stored_as_mailable_and_compared_by_key(signup_api: Api, ledger: SignupLedger) -> None:
    stored = {}
    for typed in ADDRESSES_TAKEN:
        await ledger.run("DELETE FROM outbox")
        await ledger.run("DELETE FROM users")
        answer = await signup_api.http.post("/v1/signups", json=BO | {"email": typed})
        user = await ledger.row("users") if answer.status_code == 202 else {"email": answer.text, "email_key": ""}
        stored[typed] = (user["email"], user["email_key"])
    assert stored == ADDRESSES_TAKEN


async def test_addresses_that_cannot_be_mailed_or_seen_are_refused_with_the_reason(
    signup_api: Api, ledger: SignupLedger
) -> None:
    bodies = {
        email: (orjson.dumps(BO | {"email": email}), "/email", reason) for email, reason in ADDRESSES_REFUSED.items()
    }
    assert await refusals(signup_api, bodies) == {}
    assert set((await ledger.counts()).values()) == {0}


async def test_a_refusal_does_not_repeat_the_address(signup_api: Api) -> None:
    for email in ("astrid bo@example.org", "bo@astrid\U0001f600.example", "bo@xn--astrid-8v74e.example"):
        refused = await signup_api.http.post("/v1/signups", json=BO | {"email": email})
        assert refused.status_code == 422
        assert "astrid" not in refused.text


async def test_names_are_stored_as_typed_without_surrounding_space(signup_api: Api, ledger: SignupLedger) -> None:
    stored = {}
    for number, typed in enumerate(NAMES_TAKEN):
        email = f"p{number}@example.org"
        await signup_api.http.post("/v1/signups", json={"email": email, "name": typed})
        (user,) = await ledger.rows("users", email=email) or [{"id": None, "name": "refused"}]
        (owed,) = await ledger.rows("outbox", user_id=user["id"]) or [{"payload": {"to": {"name": "refused"}}}]
        assert user["name"] == owed["payload"]["to"]["name"]
        stored[typed] = user["name"]
    assert stored == NAMES_TAKEN


async def test_names_that_are_blank_or_could_forge_a_line_are_refused(signup_api: Api, ledger: SignupLedger) -> None:
    bodies = {name: (orjson.dumps(BO | {"name": name}), "/name", reason) for name, reason in NAMES_REFUSED.items()}
    assert await refusals(signup_api, bodies) == {}
    assert set((await ledger.counts()).values()) == {0}


async def test_a_name_with_markup_is_plain_text_in_the_mail(signup_api: Api, ledger: SignupLedger) -> None:
    name = "<img src=x onerror=alert(1)> & {{ 7 * 7 }} \"'"
    await signup_api.http.post("/v1/signups", json=BO | {"name": name})
    owed = (await ledger.row("outbox"))["payload"]["to"]["name"]
    variables = {"name": owed, "link": "https://signup.example/verify/x", "expires_in_hours": 72}
    mail = Templates.load().render("verification", "en", variables)
    assert "&lt;img src=x onerror=alert(1)&gt; &amp; {{ 7 * 7 }} &#34;&#39;" in mail.html
    assert "<img" not in mail.html
    assert name in mail.text


async def test_metadata_is_returned_as_given(signup_api: Api) -> None:
    shown = {}
    async with await signup_api.as_client("shop", ["signups:write", "users:read"]) as client:
        for number, (label, metadata) in enumerate(METADATA_TAKEN.items()):
            await client.post(
                "/v1/signups", json={"email": f"p{number}@example.org", "name": "Bo", "metadata": metadata}
            )
            found = await client.get("/v1/users", params={"email": f"p{number}@example.org"})
            shown[label] = found.json()["items"][0]["metadata"]
    assert shown == METADATA_TAKEN | {"null": {}}


async def test_an_integer_past_64_bits_is_kept_as_the_nearest_double(signup_api: Api) -> None:
    body = b'{"email": "bo@example.org", "name": "Bo", "metadata": {"a": 18446744073709551617}}'
    async with await signup_api.as_client("shop", ["signups:write"]) as client:
        created = await client.post("/v1/signups", content=body, headers={"Content-Type": "application/json"})
    assert created.json()["metadata"] == {"a": 2.0**64}, "what RFC 8259 section 6 tells senders to expect"


async def test_the_last_of_duplicate_json_keys_counts(signup_api: Api, ledger: SignupLedger) -> None:
    body = b'{"email": "al@example.org", "email": "bo@example.org", "name": "Al", "name": "Bo"}'
    answer = await signup_api.http.post("/v1/signups", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 202
    user = await ledger.row("users")
    assert (user["email"], user["name"]) == ("bo@example.org", "Bo")


async def test_bodies_of_the_wrong_shape_are_refused_naming_the_place(signup_api: Api, ledger: SignupLedger) -> None:
    bodies = {body[:80]: (body, *expected) for body, expected in WRONG_SHAPES.items()}
    for metadata, expected in WRONG_METADATA.items():
        whole = b'{"email": "bo@example.org", "name": "Bo", "metadata": ' + metadata + b"}"
        bodies[b"metadata: " + metadata[:60]] = (whole, *expected)
    assert await refusals(signup_api, bodies) == {}
    assert set((await ledger.counts()).values()) == {0}


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 202),
        ("Application/JSON; charset=utf-8", 202),
        ("application/signup+json", 202),
        ("", 415),
        ("text/plain", 415),
        ("text/json", 415),
        ("application/x-www-form-urlencoded", 415),
        ("application/jsonp", 415),
        ("multipart/form-data; boundary=application/json", 415),
    ],
)
async def test_a_body_without_a_json_content_type_is_refused(
    signup_api: Api, ledger: SignupLedger, content_type: str, status: int
) -> None:
    answer = await signup_api.http.post("/v1/signups", content=orjson.dumps(BO), headers={"Content-Type": content_type})
    assert answer.status_code == status
    assert (await ledger.counts())["users"] == (1 if status == 202 else 0)
    if status == 415:
        assert answer.json()["errors"] == [{"header": "Content-Type", "detail": "Must be application/json"}]


async def test_a_body_that_is_too_long_is_refused_with_or_without_its_length(
    signup_api: Api, ledger: SignupLedger
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(70):
            yield b" " * 1000

    for content in (b" " * 70_000, chunks()):
        headers = {"Content-Type": "application/json"}
        refused = await signup_api.http.post("/v1/signups", content=content, headers=headers)
        assert (refused.status_code, refused.json()["type"]) == (413, "/problems/payload-too-large")
    assert set((await ledger.counts()).values()) == {0}
