"""Every page of the console in a real Chromium: empty and full, light, dark and on a phone, by keyboard and magnified.

Not named test_*: `make test` must not collect it, because it needs Chromium. Tests run in their order: the first ones
see a product that has done nothing yet.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from . import axe
from .chromium import Chromium
from .console_world import ROOMS, World, clients, fill, pages, running_world
from .page import Page

DESKTOP = {"width": 1280, "height": 860}
# What docs/console shows.
SHOWN = ("overview", "person", "mails", "uncertain", "outbox", "reconciliation", "history")
SHOWN_DARK = ("overview", "person")
SHOWN_ON_A_PHONE = ("overview", "person", "uncertain")
HIGHEST = 1600
FITS = "document.documentElement.scrollWidth <= innerWidth"
WIDEST = """
[...document.querySelectorAll('body *')]
  .filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('thead, nav'))
  .slice(0, 4).map(e => e.tagName + '.' + e.className + ' ' + e.textContent.slice(0, 40))
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("console_stack")) as world:
        yield world


@pytest.fixture(scope="module")
def rules(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core."""
    try:
        return axe.load(tmp_path_factory.mktemp("axe"))
    except axe.AxeError as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="module")
def pictures(screenshots: Path) -> Path:
    """Beside the pictures of the pages: docs/console, or a folder that git ignores."""
    folder = screenshots.parent / "console"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def signed_in(browser: Chromium, world: World, *, width: int = 1280, height: int = 860, dark: bool = False) -> Page:
    page = browser.page(width=width, height=height)
    if dark:
        page.dark()
    page.open(world.link())
    page.wait_until("document.activeElement?.matches('main button')")
    page.press_enter_to_go_on()
    assert page.evaluate("location.pathname") == "/console"
    page.console_messages()
    return page


def keep(page: Page, file: Path) -> None:
    """A picture in few colours, a third as large."""
    image = Image.open(io.BytesIO(page.full_screenshot(highest=HIGHEST)))
    image.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(file, optimize=True)


def is_sound(page: Page, rules: str, name: str, status: int = 200) -> None:
    """The rules for every page."""
    said = [text for text in page.console_messages() if f"status of {status} " not in text]
    assert said == [], (name, "nothing violates the policy")
    assert page.evaluate("[document.documentElement.lang, document.querySelectorAll('h1').length]") == ["en", 1], name
    assert page.evaluate(FITS), (name, page.evaluate(WIDEST))
    assert page.evaluate("document.querySelectorAll('img[src=x], main script, main b').length") == 0, name
    assert axe.violations(page, rules) == [], name


def test_every_page_of_a_product_that_has_done_nothing(world: World, browser: Chromium, rules: str) -> None:
    page = signed_in(browser, world)
    for path in ROOMS:
        page.open(world.url + path)
        is_sound(page, rules, path)


async def test_every_page_with_something_on_it(world: World, browser: Chromium, rules: str, pictures: Path) -> None:
    await fill(world)
    page = signed_in(browser, world)
    for name, path in pages(world).items():
        page.open(world.url + path)
        is_sound(page, rules, name, 404 if name == "not-found" else 200)
        if name in SHOWN:
            keep(page, pictures / f"{name}.png")


def test_every_page_in_the_dark(world: World, browser: Chromium, rules: str, pictures: Path) -> None:
    page = signed_in(browser, world, dark=True)
    for name, path in pages(world).items():
        page.open(world.url + path)
        is_sound(page, rules, name, 404 if name == "not-found" else 200)
        if name in SHOWN_DARK:
            keep(page, pictures / f"{name}-dark.png")


def test_every_page_on_a_phone(world: World, browser: Chromium, rules: str, pictures: Path) -> None:
    page = signed_in(browser, world, width=390, height=844)
    for name, path in pages(world).items():
        page.open(world.url + path)
        is_sound(page, rules, name, 404 if name == "not-found" else 200)
        if name in SHOWN_ON_A_PHONE:
            keep(page, pictures / f"{name}-phone.png")


def test_every_page_at_200_percent_and_at_320_pixels(world: World, browser: Chromium) -> None:
    page = signed_in(browser, world)
    for name, path in pages(world).items():
        page.resize(**DESKTOP, zoom=2)
        page.open(world.url + path)
        assert page.evaluate(FITS), (name, "at 200 %", page.evaluate(WIDEST))
        page.resize(320, 640)  # WCAG 2.2, 1.4.10
        assert page.evaluate(FITS), (name, page.evaluate(WIDEST))


def test_every_page_is_read_without_scripts(world: World, browser: Chromium) -> None:
    page = browser.page(**DESKTOP)
    page.without_scripts()
    page.open(world.link())
    page.press_button("main button")
    for name, path in pages(world).items():
        page.open(world.url + path)
        assert len(page.headings()) >= 1, name
        assert ("navigation", "Console") in page.roles(), name


def test_the_focus_is_always_seen_and_goes_through_the_page_in_order(world: World, browser: Chromium) -> None:
    page = signed_in(browser, world)
    page.open(world.url + "/console/uncertain")
    page.press_key("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    box = page.evaluate("JSON.stringify(document.activeElement.getBoundingClientRect())")
    assert '"left":0' in box, "the skip link is seen when it has the focus"
    page.press_key("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    seen = []
    for _ in range(12):
        page.press_key("Tab")
        style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert style == "solid", page.evaluate("document.activeElement.outerHTML.slice(0, 100)")
        seen.append(page.evaluate("document.activeElement.name || document.activeElement.textContent"))
    assert "reason" in seen
    assert seen.index("reason") < seen.index("as")


def test_a_wrong_key_and_an_expired_cookie_lead_to_the_sign_in(
    world: World, browser: Chromium, rules: str, pictures: Path
) -> None:
    page = browser.page(**DESKTOP)
    page.open(world.url + "/console/outbox")
    is_sound(page, rules, "sign-in")
    keep(page, pictures / "sign-in.png")
    page.wait_until("document.activeElement?.id === 'key'")
    page.type_text("cf_wrong")
    page.press_enter_to_go_on()
    assert page.evaluate("document.querySelector('[role=alert]').textContent").startswith("Type an operator")
    is_sound(page, rules, "wrong key", 401)
    page.set_cookie(world.url, "counterfoil-console", "gAAAAABexpired")
    page.open(world.url + "/console/outbox")
    assert page.evaluate("location.pathname + location.search") == "/console/sign-in?next=/console/outbox"


async def test_a_form_of_another_site_does_nothing(world: World, browser: Chromium) -> None:
    page = signed_in(browser, world)
    (cookie,) = page.cookies(f"{world.url}/console")
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/console")
    async with clients(world) as ledgers:
        count = "SELECT count(*) FROM history WHERE kind = 'reconciliation.requested'"
        before = await ledgers.fetchval("signup", count)
        page.open(
            "data:text/html,<form method=post action='" + world.url + "/console/reconciliation/run'>"
            "<input name=repair value=yes><button autofocus>Free</button></form>"
        )
        page.press_button()
        assert page.answer()[0] in {401, 403}
        assert await ledgers.fetchval("signup", count) == before
