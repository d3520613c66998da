"""What a new user does, with only a browser and a keyboard: the printed link, a signup, a gateway that drops the line
after the dot, the uncertain mail, and who decided it.

Not named test_*: `make test` must not collect it, because it needs Chromium.
"""

import asyncio
from collections.abc import Iterator

import pytest

from tests.support.stack import eventually

from .chromium import Chromium
from .console_world import World, clients, running_world
from .page import Page

EMAIL = "uncertain@simulator.example"
REASON = "The gateway's log has its Message-ID"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("console_story")) as world:
        yield world


def _shows(text: str) -> str:
    return f"document.querySelector('main').textContent.includes({text!r})"


def _sign_in(page: Page, link: str) -> None:
    """The button has the focus."""
    page.open(link)
    page.wait_until("document.activeElement?.matches('main button')")
    page.press_enter_to_go_on()


def _sign_up(page: Page, url: str) -> None:
    """In the example form, by keyboard."""
    page.open(f"{url}/signup/example")
    page.tab_to("input[name=name]")
    page.type_text("Una Certain")
    page.tab_to("input[name=email]")
    page.type_text(EMAIL)
    page.wait_until("document.querySelector('altcha-widget').getState() === 'verified'")
    page.tab_to("form > button")
    page.press_key("Enter")
    page.wait_until("document.getElementById('outcome').textContent.startsWith('Thank you')")


async def test_from_the_printed_link_to_the_line_in_history(world: World, browser: Chromium) -> None:
    console = browser.page(width=1280, height=860)
    _sign_in(console, world.link())
    assert console.evaluate("document.querySelector('h1').textContent") == "Overview"
    # A mark that a reload would take away.
    console.evaluate("window.marked = true")
    await asyncio.to_thread(_sign_up, browser.page(), world.url)
    await asyncio.to_thread(console.wait_until, _shows("1 in the last hour"))
    assert console.evaluate("window.marked"), "the picture moved without a reload"

    # The verification mail is dropped once and then sent again; the welcome mail, of which a second copy would annoy,
    # is held.
    async with clients(world) as ledgers:
        caught, *_ = await eventually(lambda: ledgers.caught(EMAIL), lambda found: len(found) > 1, what="both copies")
        text: str = (await ledgers.catcher.get(f"/api/v1/message/{caught['ID']}")).json()["Text"]
    (link,) = [word for word in text.split() if "/verify/" in word]
    person = browser.page()
    person.open(link)
    person.tab_to("button")
    person.press_enter_to_go_on()

    _find(console, EMAIL)
    await asyncio.to_thread(console.wait_until, _shows("Uncertain whether it arrived"))
    assert console.evaluate(_shows("The books agree."))
    assert console.evaluate(_shows("The gateway gave no answer after the dot"))

    console.tab_to("a[href='/console/uncertain']")
    console.press_enter_to_go_on()
    console.tab_to("input[name=reason]")
    console.type_text(REASON)
    console.tab_to("button[value=sent]")
    console.press_enter_to_go_on()
    assert console.evaluate("document.querySelector('.notice.good').textContent") == "The mail counts as sent."
    assert console.console_messages() == []

    console.tab_to("a[href='/console/history']")
    console.press_enter_to_go_on()
    rows = console.evaluate("[...document.querySelectorAll('tbody tr')].map(row => row.textContent)")
    (decided,) = [row for row in rows if "mail.resolved" in row]
    assert "console:operator" in decided
    assert REASON in decided
    assert any("console.signed_in" in row and "console:operator" in row for row in rows)

    again, used = browser.page(), browser.page()
    link = world.link()
    for page, heading in ((again, "Overview"), (used, "Sign in")):
        _sign_in(page, link)
        assert page.evaluate("document.querySelector('h1').textContent") == heading


def _find(page: Page, text: str) -> None:
    page.tab_to("#find")
    page.type_text(text)
    page.press_enter_to_go_on()
