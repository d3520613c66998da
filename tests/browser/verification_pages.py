"""The pages behind the link of a verification mail, with the real product and real mails.

Not named test_*: `make test` must not collect it, because it needs Chromium.
"""

from pathlib import Path

import pytest

from tests.support.stack import Ledgers, eventually

from .chromium import Chromium
from .page import Page

CONFIRM = "Confirm your address"
VERIFIED = "Your address is confirmed"
ALREADY = "Your address was confirmed already"
EXPIRED = "This link has expired"
UNKNOWN = "This link does not work"
BUSY = "Too many attempts just now"
UNAVAILABLE = "This does not work right now"
BUTTON = "Confirm my address"
AGAIN = "Try again"
PHONE = {"width": 390, "height": 844}
# WCAG 2.2: 1.4.3 requires a contrast of 4.5, 2.5.5 a target of 44 CSS pixels.
MIN_CONTRAST = 4.5
MIN_TARGET = 44


async def link_for(ledgers: Ledgers, email: str) -> str:
    """Sign up and read the link from the mail."""
    assert (await ledgers.sign_up(email)).status_code == 202
    (caught,) = await eventually(lambda: ledgers.caught(email), lambda found: len(found) == 1, what="the mail")
    text: str = (await ledgers.catcher.get(f"/api/v1/message/{caught['ID']}")).json()["Text"]
    (link,) = [word for word in text.split() if "/verify/" in word]
    return link


async def status(ledgers: Ledgers, email: str) -> str:
    found: str = (await ledgers.user(email))["status"]
    return found


def shows(page: Page, heading: str, code: int, *, buttons: tuple[str, ...] = ()) -> None:
    """Assert that this page is shown, and the rules for every page."""
    assert page.headings() == [heading], "one h1 and no other heading"
    assert tuple(page.buttons()) == buttons
    assert page.evaluate("[document.documentElement.lang, document.title]") == ["en", heading]
    assert page.evaluate("document.querySelectorAll('h1').length") == 1
    answered, headers = page.answer()
    assert answered == code
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["content-security-policy"].startswith("default-src 'none'; ")
    assert headers["cache-control"] == "no-store"
    # The browser reports a 4xx answer on its console; nothing else may appear there.
    assert [message for message in page.console_messages() if f"status of {code} " not in message] == []
    assert page.evaluate("getComputedStyle(document.querySelector('main')).maxWidth") != "none", "the style applies"
    low = [(text, ratio) for text, ratio in page.contrasts() if ratio < MIN_CONTRAST]
    assert low == []


def fits(page: Page, width: int) -> None:
    assert page.evaluate("[document.documentElement.scrollWidth, innerWidth]") == [width, width], (
        "no horizontal scrolling"
    )


async def test_opening_and_reloading_verify_nothing_and_pressing_does_once(
    ledgers: Ledgers, browser: Chromium, screenshots: Path
) -> None:
    email = "open@browser.example"
    link = await link_for(ledgers, email)
    page = browser.page()

    page.open(link)
    shows(page, CONFIRM, 200, buttons=(BUTTON,))
    (screenshots / "open.png").write_bytes(page.screenshot())
    assert await status(ledgers, email) == "pending"

    page.reload()
    shows(page, CONFIRM, 200, buttons=(BUTTON,))
    (screenshots / "reload.png").write_bytes(page.screenshot())
    assert await status(ledgers, email) == "pending"

    page.press_button()
    shows(page, VERIFIED, 200)
    (screenshots / "press.png").write_bytes(page.screenshot())
    assert await status(ledgers, email) == "verified"

    page.back()
    assert page.buttons() == [BUTTON]
    page.press_button()
    shows(page, ALREADY, 200)
    (screenshots / "press-again.png").write_bytes(page.screenshot())
    assert await status(ledgers, email) == "verified"

    await eventually(lambda: ledgers.caught(email), lambda found: len(found) == 2, what="the welcome mail")
    verified = await ledgers.fetchval(
        "signup", "SELECT count(*) FROM history WHERE kind = 'user.verified' AND subject = $1",
        (await ledgers.user(email))["id"],
    )  # fmt: skip
    assert verified == 1


async def test_the_link_of_a_verified_address_opens_again_without_an_error(ledgers: Ledgers, browser: Chromium) -> None:
    link = await link_for(ledgers, "twice@browser.example")
    for heading in (VERIFIED, ALREADY):
        page = browser.page()  # a new browser profile
        page.open(link)
        shows(page, CONFIRM, 200, buttons=(BUTTON,))
        page.press_button()
        shows(page, heading, 200)


async def test_reloading_the_answer_sends_the_form_again_without_an_error(ledgers: Ledgers, browser: Chromium) -> None:
    link = await link_for(ledgers, "resubmit@browser.example")
    page = browser.page()
    page.open(link)
    page.press_button()
    page.reload()
    shows(page, ALREADY, 200)


async def test_a_link_that_is_too_old_says_what_to_do(ledgers: Ledgers, browser: Chromium, screenshots: Path) -> None:
    email = "expired@browser.example"
    link = await link_for(ledgers, email)
    user = (await ledgers.user(email))["id"]
    for table in ("outbox", "outbox_settled"):  # the row may be in either table by now
        await ledgers.execute(
            "signup",
            f"UPDATE {table} SET payload = jsonb_set(payload, '{{link,ttl_seconds}}', '0') "
            "WHERE user_id = $1 AND effect = 'mail'",
            user,
        )
    page = browser.page()
    page.open(link)
    page.press_button()
    shows(page, EXPIRED, 410)
    (screenshots / "expired.png").write_bytes(page.screenshot())
    assert await status(ledgers, email) == "pending"


async def test_an_unknown_link_says_what_to_do(ledgers: Ledgers, browser: Chromium, screenshots: Path) -> None:
    page = browser.page()
    page.open(f"{ledgers.stack.signup_url}/verify/no-such-token")
    page.press_button()
    shows(page, UNKNOWN, 404)
    (screenshots / "unknown.png").write_bytes(page.screenshot())


async def test_with_the_database_down_the_page_says_so_and_trying_again_verifies_once_it_is_back(
    ledgers: Ledgers, browser: Chromium, screenshots: Path
) -> None:
    email = "unavailable@browser.example"
    link = await link_for(ledgers, email)
    page = browser.page()
    page.open(link)
    ledgers.stack.kill_server("postgres")
    page.press_button()
    shows(page, UNAVAILABLE, 503, buttons=(AGAIN,))
    (screenshots / "unavailable.png").write_bytes(page.screenshot())
    await ledgers.stack.bring_back()
    page.press_button()
    shows(page, VERIFIED, 200)
    assert await status(ledgers, email) == "verified"


async def test_pressing_too_often_asks_to_wait(ledgers: Ledgers, browser: Chromium, screenshots: Path) -> None:
    stack = ledgers.stack
    stack.terminate("signup-api")
    stack.start("signup-api", SIGNUP_LIMIT_PER_IP="1/minute")
    await stack.bring_back()
    try:
        page = browser.page()
        page.open(f"{stack.signup_url}/verify/no-such-token")
        page.press_button()
        shows(page, UNKNOWN, 404)
        page.back()
        page.press_button()
        shows(page, BUSY, 429, buttons=(AGAIN,))
        (screenshots / "busy.png").write_bytes(page.screenshot())
    finally:
        stack.terminate("signup-api")  # the next start is without a limit
        await stack.bring_back()


async def test_on_a_phone_the_page_fits_and_the_button_is_large_enough(
    ledgers: Ledgers, browser: Chromium, screenshots: Path
) -> None:
    link = await link_for(ledgers, "phone@browser.example")
    page = browser.page(**PHONE)
    page.open(link)
    shows(page, CONFIRM, 200, buttons=(BUTTON,))
    fits(page, PHONE["width"])
    left, top, width, height = page.box("button")
    assert height >= MIN_TARGET
    assert width >= MIN_TARGET
    assert left >= 0
    assert left + width <= PHONE["width"]
    assert top + height <= PHONE["height"], "visible without scrolling"
    (screenshots / "phone.png").write_bytes(page.screenshot())
    page.press_button()
    shows(page, VERIFIED, 200)
    fits(page, PHONE["width"])


@pytest.mark.parametrize("width", [320, 1600])
async def test_the_page_fits_the_narrowest_and_the_widest_screens(
    ledgers: Ledgers, browser: Chromium, width: int
) -> None:
    page = browser.page(width=width, height=800)
    page.open(f"{ledgers.stack.signup_url}/verify/no-such-token")
    fits(page, width)
    page.press_button()
    fits(page, width)


async def test_the_page_is_readable_in_dark_mode(ledgers: Ledgers, browser: Chromium, screenshots: Path) -> None:
    page = browser.page()
    page.dark()
    page.open(f"{ledgers.stack.signup_url}/verify/no-such-token")
    shows(page, CONFIRM, 200, buttons=(BUTTON,))
    (screenshots / "dark.png").write_bytes(page.screenshot())


async def test_the_page_works_without_scripts(ledgers: Ledgers, browser: Chromium) -> None:
    email = "noscript@browser.example"
    link = await link_for(ledgers, email)
    page = browser.page()
    page.without_scripts()
    page.open("data:text/html,<h1>on</h1><script>document.querySelector('h1').textContent = 'off'</script>")
    assert page.headings() == ["on"], "scripts are off"
    page.open(link)
    assert (page.headings(), page.buttons()) == ([CONFIRM], [BUTTON])
    page.press_button()
    assert page.headings() == [VERIFIED]
    assert await status(ledgers, email) == "verified"


async def test_the_page_works_by_keyboard_alone_and_shows_the_focus(
    ledgers: Ledgers, browser: Chromium, screenshots: Path
) -> None:
    email = "keyboard@browser.example"
    link = await link_for(ledgers, email)
    page = browser.page()
    page.open(link)
    page.press_key("Tab")
    assert page.evaluate("document.activeElement.textContent") == BUTTON, "Tab focuses the button first"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    (screenshots / "keyboard.png").write_bytes(page.screenshot())
    page.press_enter_to_go_on()
    shows(page, VERIFIED, 200)
    assert await status(ledgers, email) == "verified"
