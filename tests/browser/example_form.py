"""The example form with the challenge, in a real Chromium: the widget solves it, and the signup is accepted.

Not named test_*: `make test` must not collect it, because it needs Chromium.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn

from services.signup.app import create_app
from services.signup.settings import Settings
from tests.support.databases import Clone

from .chromium import Chromium
from .page import Page

PATIENCE_SECONDS = 30.0
# The widget begins when the form gets the focus.
FILL_IN = """
document.activeElement.blur();
document.querySelector('input[name=name]').focus();
document.querySelector('input[name=name]').value = 'Bo';
document.querySelector('input[name=email]').value = '%s';
"""
STATE = "document.querySelector('altcha-widget').getState()"
OUTCOME = "document.getElementById('outcome').textContent"
THANKS = "Thank you. Please open the link in the mail that we have sent you."


@pytest.fixture
async def url(signup_database: Clone) -> AsyncIterator[str]:
    settings = Settings(
        signup_runtime_database_url=signup_database.runtime_url,
        signup_token_keys="k" * 32,
        signup_challenge="always",
        signup_limit_per_ip="off",
    )
    listening = socket.create_server(("127.0.0.1", 0))  # connections wait in it until the server has started
    server = uvicorn.Server(uvicorn.Config(create_app(settings), log_level="error"))
    serving = asyncio.create_task(server.serve([listening]))
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/signup/example"
    server.should_exit = True
    await serving


def _eventually(page: Page, expression: str, wanted: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (seen := page.evaluate(expression)) != wanted:
        assert time.monotonic() < deadline, f"{expression} is {seen!r}, not {wanted!r}: {page.console_messages()}"
        time.sleep(0.05)


def _sign_up(page: Page, email: str) -> float:
    """Fill in and press the button; the seconds that the widget needed."""
    began = time.monotonic()
    page.evaluate(FILL_IN % email)
    _eventually(page, STATE, "verified")
    took = time.monotonic() - began
    page.evaluate("document.querySelector('form > button').click()")
    _eventually(page, OUTCOME, THANKS)
    return took


async def test_the_form_solves_the_challenge_and_signs_up_twice(
    url: str, browser: Chromium, screenshots: Path, signup_database: Clone
) -> None:
    def drive() -> list[float]:
        page = browser.page()
        page.open(url)
        took = [_sign_up(page, "bo@example.org")]
        (screenshots / "example-form.png").write_bytes(page.screenshot())
        _eventually(page, STATE, "unverified")  # the solution was used
        took.append(_sign_up(page, "io@example.org"))
        assert page.console_messages() == [], "nothing violates the content security policy"
        return took

    took = await asyncio.to_thread(drive)
    assert max(took) < PATIENCE_SECONDS
    pool = signup_database.database.pool
    assert await pool.fetchval("SELECT array_agg(email ORDER BY email) FROM users") == [
        "bo@example.org",
        "io@example.org",
    ]
    assert await pool.fetchval("SELECT count(*) FROM used_challenges") == 2
