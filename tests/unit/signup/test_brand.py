"""The product's own name and looks, and the pages of it that a person may be led back to."""

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.signup.brand import Brand
from services.signup.http.pages import Pages
from services.signup.settings import Settings
from shared.contract.configuration import ConfigurationError

ACME = Brand.of(
    Settings(
        signup_product_name="Acme & Söhne",
        signup_logo_url="https://cdn.acme.example/logo.png",
        signup_accent_color="#7a1fa2",
        signup_return_urls="https://acme.example/app, https://shop.acme.example/",
    )
)


@pytest.mark.parametrize(
    "url",
    [
        "https://acme.example/app",
        "https://acme.example/app/start?from=mail#top",
        "https://acme.example/app?x=1",
        "https://shop.acme.example/",
        "https://shop.acme.example/basket",
    ],
)
def test_a_page_at_or_below_an_allowed_one_is_allowed(url: str) -> None:
    assert ACME.allows(url)
    assert ACME.way_back(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "https://acme.example/application",
        "https://acme.example/",
        "https://acme.example.evil.example/app",
        "https://acme.example@evil.example/app",
        "https://shop.acme.example@evil.example/",
        "http://acme.example/app",
        "https://acme.example/app/../admin",
        "https://acme.example/app\\@evil.example",
        "https://acme.example/app/\nx",
        'https://acme.example/app/"><script>',
        "//acme.example/app",
        "javascript:alert(1)",
        "https://[acme.example/app",
        "",
    ],
)
def test_no_other_page_is_allowed_and_none_is_led_to(url: str) -> None:
    assert not ACME.allows(url)
    assert ACME.way_back(url) == "https://acme.example/app"


def test_without_allowed_pages_there_is_no_way_back() -> None:
    assert not Brand().allows("https://acme.example/app")
    assert Brand().way_back("https://acme.example/app") is None


def test_a_page_shows_name_logo_and_colour_and_leads_back() -> None:
    answer = Pages.load(brand=ACME).render("verified", "fr", back="https://acme.example/app?a=1&b=2")
    html = bytes(answer.body).decode()
    assert "Acme &amp; Söhne</title>" in html
    assert '<img src="https://cdn.acme.example/logo.png" alt="Acme &amp; Söhne">' in html
    assert '<a class="button" href="https://acme.example/app?a=1&amp;b=2">Continuer</a>' in html
    assert "--accent: #7a1fa2; --on-accent: #fff" in html
    assert "img-src https://cdn.acme.example;" in answer.headers["content-security-policy"]
    assert "Counterfoil" not in html


def test_a_bright_colour_gets_dark_letters() -> None:
    html = bytes(Pages.load(brand=Brand(accent_color="#ffdd00")).render("confirm", "en").body).decode()
    assert "--accent: #ffdd00; --on-accent: #000" in html


def test_without_a_brand_a_page_loads_nothing_and_names_no_product() -> None:
    answer = Pages.load().render("verified", "en")
    assert "img-src" not in answer.headers["content-security-policy"]
    assert not re.search("<img|<a ", bytes(answer.body).decode())


def test_pages_style_and_texts_of_ones_own_lie_over_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "expired.html").write_text('{% extends "layout.html" %}{% block content %}<p>Ours</p>{% endblock %}')
    (tmp_path / "style.css").write_text("body { color: teal }")
    own = Pages.load(tmp_path)
    html = bytes(own.render("expired", "en").body).decode()
    assert "<p>Ours</p>" in html
    assert "body { color: teal }" in html
    assert bytes(own.render("confirm", "de").body) != bytes(Pages.load().render("confirm", "de").body)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("verified.html", "{% block %}", "verified.html, line 1: the page cannot be rendered"),
        ("verified.html", "\n{{ nobody }}", "verified.html, line 2: the page cannot be rendered"),
        ("en.toml", "direction = ", "en.toml: not TOML"),
        ("style.css", b"\xff", "style.css, line 1"),
    ],
)
def test_a_broken_file_of_ones_own_stops_the_start(
    tmp_path: Path, file: str, content: str | bytes, message: str
) -> None:
    (tmp_path / file).write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Pages.load(tmp_path)


def test_a_folder_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="SIGNUP_PAGES: there is no folder"):
        Pages.load(tmp_path / "none")


@pytest.mark.parametrize(
    "wrong",
    [
        {"signup_accent_color": "teal"},
        {"signup_logo_url": "http://acme.example/logo.png"},
        {"signup_return_urls": "https://acme.example/app, acme.example"},
        {"signup_support_email": "help"},
    ],
)
def test_a_wrong_setting_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)  # type: ignore[arg-type]
