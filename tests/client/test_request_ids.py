"""Request IDs: no call without one, and the same one from the same key, always."""

import subprocess
import sys
from datetime import UTC, date, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from counterfoil_client import AsyncMail, Mail, errors, request_id
from tests.support.databases import ROOT

UNSENDABLE: list[dict[str, Any]] = [
    {"to": "a@x.example", "subject": "S", "text": "T"},
    {"request_id": None, "to": "a@x.example", "subject": "S", "text": "T"},
    {"request_id": "", "to": "a@x.example", "subject": "S", "text": "T"},
    {"request_id": "ordér", "to": "a@x.example", "subject": "S", "text": "T"},
    {"request_id": "x" * 256, "to": "a@x.example", "subject": "S", "text": "T"},
    {"request_id": "one", "subject": "S", "text": "T"},
    {"request_id": "one", "to": "a@x.example", "subjct": "S", "text": "T"},
    {"request_id": "one", "to": "a@x.example", "template": "t", "variables": {"n": float("nan")}},
]


def _refuse(request: httpx.Request) -> httpx.Response:
    raise AssertionError(f"Sent {request.method} {request.url}")


@pytest.mark.parametrize("arguments", UNSENDABLE)
async def test_nothing_is_sent_without_a_request_id_or_with_what_is_no_mail(arguments: dict[str, Any]) -> None:
    with Mail("http://mail", api_key="k", transport=httpx.MockTransport(_refuse)) as mail:
        for send in (mail.send, mail.send_once):
            with pytest.raises((TypeError, ValueError)):
                send(**arguments)
        with pytest.raises((TypeError, ValueError)):
            mail.send_batch([arguments])  # type: ignore[list-item]
    async with AsyncMail("http://mail", api_key="k", transport=httpx.MockTransport(_refuse)) as mails:
        with pytest.raises((TypeError, ValueError)):
            await mails.send(**arguments)


def test_a_request_id_reads_like_the_key_it_was_made_from() -> None:
    assert request_id("welcome", 17) == "welcome:17"
    assert request_id("invoice", UUID(int=1), date(2026, 5, 1)) == (
        "invoice:00000000-0000-0000-0000-000000000001:2026-05-01"
    )
    assert request_id("digest", datetime(2026, 5, 1, 7, tzinfo=UTC)) == "digest:2026-05-01T07%3A00%3A00+00%3A00"
    assert request_id("welcome", "ada@x.example") == "welcome:ada@x.example"


@settings(derandomize=True, deadline=None)
@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.lists(st.text(min_size=1), min_size=1, max_size=4))
def test_every_key_has_an_id_that_the_service_takes_and_no_other_key_has(first: list[str], second: list[str]) -> None:
    made = request_id(*first)
    assert 1 <= len(made) <= 255
    assert made.isascii()
    assert made.isprintable()
    assert made == request_id(*first)
    assert (made == request_id(*second)) == (first == second)


def test_a_long_key_is_shortened_to_its_beginning_and_a_hash() -> None:
    shortened = request_id("newsletter", "x" * 300)
    assert shortened.startswith("newsletter:xxx")
    assert len(shortened) <= 255
    assert shortened != request_id("newsletter", "x" * 301)
    assert request_id("newsletter", shortened) != shortened


def test_another_process_makes_the_same_id() -> None:
    key = ("w", "ü" * 200)
    code = f"from counterfoil_client import request_id; print(request_id(*{key!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(ROOT / "client"), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == request_id(*key)


@pytest.mark.parametrize(
    "parts", [(), ("",), ("welcome", None), ("welcome", ""), ("w", 1.5), ("w", True), ("w", object())]
)
def test_a_part_that_would_be_the_same_for_everyone_is_refused(parts: tuple[Any, ...]) -> None:
    with pytest.raises(errors.BadRequestId):
        request_id(*parts)
