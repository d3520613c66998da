"""`/docs` of both services in a real Chromium: it shows every operation, and loads nothing from another host.

Not named test_*: `make test` must not collect it, because it needs Chromium.
"""

import asyncio

import httpx
import pytest

from tests.support.stack import Ledgers

from .chromium import Chromium

SHOWN = "document.querySelectorAll('.opblock').length"
# Opens the call, presses "Try it out" and "Execute", and reads the status of the answer.
OPEN = "document.querySelector('[id$=-get_version] button').click()"
TRY, EXECUTE = "document.querySelector('.try-out button')", "document.querySelector('button.execute')"
STATUS = "document.querySelector('.live-responses-table .response-col_status')?.textContent ?? ''"
HOSTS = "[...new Set(performance.getEntriesByType('resource').map(loaded => new URL(loaded.name).origin))]"


@pytest.mark.parametrize("service", ["signup", "mail"])
async def test_the_page_shows_every_operation_and_calls_one(ledgers: Ledgers, browser: Chromium, service: str) -> None:
    http: httpx.AsyncClient = getattr(ledgers, service)
    document = (await http.get("/openapi.json")).json()
    # It shows webhooks, too: what subscribers are sent.
    operations = sum(len(methods) for methods in [*document["paths"].values(), *document["webhooks"].values()])

    def drive() -> None:
        page = browser.page(width=1200, height=900)
        page.hear_scripts()
        page.open(f"{http.base_url}/docs")
        page.wait_until(f"{SHOWN} === {operations}")
        page.evaluate(OPEN)
        page.wait_until(f"{TRY} !== null")
        page.evaluate(f"{TRY}.click()")
        page.wait_until(f"{EXECUTE} !== null")
        page.evaluate(f"{EXECUTE}.click()")
        page.wait_until(f"{STATUS}.includes('200')")
        assert page.evaluate(HOSTS) == [str(http.base_url).rstrip("/")]
        assert page.console_messages() == [], "nothing violates the content security policy, no file is missing"
        assert page.script_errors() == []

    await asyncio.to_thread(drive)
