"""The built-in templates say the same in every language, in its own direction of writing."""

import re
import shutil
from pathlib import Path

import pytest
from pydantic import JsonValue

from services.mail.intake.template_engine import SHIPPED, Templates

from .test_templates import EACH, LINK, LOCALES, VARIABLES

GREETINGS = {
    "ar": ("مرحبًا \u2068Ada\u2069،", "مرحبًا،"),
    "de": ("Guten Tag Ada,", "Guten Tag,"),
    "en": ("Hello Ada,", "Hello,"),
    "es": ("Hola, Ada:", "Hola:"),
    "fr": ("Bonjour Ada,", "Bonjour,"),
    "pt": ("Olá, Ada,", "Olá,"),
}


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates.load()


@pytest.mark.parametrize(("name", "locale"), EACH)
def test_page_and_article_have_the_language_and_its_direction(templates: Templates, name: str, locale: str) -> None:
    html = templates.render(name, locale, VARIABLES[name]).html
    direction = "rtl" if locale == "ar" else "ltr"
    assert f'<html lang="{locale}" dir="{direction}">' in html
    assert re.search(rf'<div role="article" aria-label="[^"]+" lang="{locale}" dir="{direction}"', html)


@pytest.mark.parametrize(("name", "locale"), EACH)
def test_each_language_has_the_paragraphs_of_the_english_mail(templates: Templates, name: str, locale: str) -> None:
    english, translated = (templates.render(name, tag, VARIABLES[name]) for tag in ("en", locale))
    assert translated.text.count("\n\n") == english.text.count("\n\n")
    assert re.findall("<(?!bdi)[a-z0-9]+", translated.html) == re.findall("<(?!bdi)[a-z0-9]+", english.html)
    assert locale == "en" or translated.subject != english.subject


@pytest.mark.parametrize(("name", "locale"), EACH)
def test_each_text_greets_by_name_and_has_short_lines(templates: Templates, name: str, locale: str) -> None:
    text = templates.render(name, locale, VARIABLES[name]).text
    assert text.startswith(f"{GREETINGS[locale][0]}\n\n")
    assert max(map(len, text.split("\n"))) <= 78
    assert text.endswith("\n")
    assert "\n\n\n" not in text


@pytest.mark.parametrize(("name", "locale"), EACH)
def test_a_blank_name_gives_a_greeting_without_one(templates: Templates, name: str, locale: str) -> None:
    rendered = templates.render(name, locale, {**VARIABLES[name], "name": " "})
    assert rendered.text.startswith(f"{GREETINGS[locale][1]}\n\n")


@pytest.mark.parametrize(("name", "locale"), EACH)
@pytest.mark.parametrize("written", ["Ada", "أحمد", "עדה 7", "A < B"])
def test_a_name_in_another_script_leaves_the_order_of_the_sentence(
    templates: Templates, name: str, locale: str, written: str
) -> None:
    rendered = templates.render(name, locale, {**VARIABLES[name], "name": written})
    assert f"<bdi>{written.replace('<', '&lt;')}</bdi>" in rendered.html
    isolated = f"\u2068{written}\u2069"
    assert (isolated if locale == "ar" else f" {written}") in rendered.text


@pytest.mark.parametrize("name", VARIABLES)
def test_a_blank_name_leaves_no_empty_isolate(templates: Templates, name: str) -> None:
    rendered = templates.render(name, "ar", {**VARIABLES[name], "name": " "})
    assert "<bdi>" not in rendered.html
    assert "\u2068" not in rendered.text


@pytest.mark.parametrize(
    ("locale", "phrase"),
    [
        *[("de", "gilt eine Stunde lang."), ("en", "works for one hour."), ("es", "durante una hora.")],
        *[("fr", "est valable une heure."), ("pt", "por uma hora.")],
    ],
)
def test_one_hour_is_written_in_the_singular(templates: Templates, locale: str, phrase: str) -> None:
    rendered = templates.render("verification", locale, {**VARIABLES["verification"], "expires_in_hours": 1})
    assert phrase in rendered.text
    assert phrase in rendered.html


@pytest.mark.parametrize("hours", [1, 2, 3, 11, 48, 100])
@pytest.mark.parametrize("locale", LOCALES)
def test_the_hours_are_given_in_both_parts(templates: Templates, locale: str, hours: JsonValue) -> None:
    rendered = templates.render("verification", locale, {**VARIABLES["verification"], "expires_in_hours": hours})
    in_words = {"de": "eine Stunde", "en": "one hour", "es": "una hora", "fr": "une heure", "pt": "uma hora"}
    wanted = in_words.get(locale, "1") if hours == 1 else str(hours)
    assert re.search(rf"\b{wanted}\b", rendered.text)
    assert re.search(rf"\b{wanted}\b", rendered.html)


def test_an_arabic_mail_shows_the_link_from_left_to_right(templates: Templates) -> None:
    rendered = templates.render("verification", "ar-EG", VARIABLES["verification"])
    assert rendered.locale == "ar"
    assert re.search(r'<a href="[^"]+" class="link" dir="ltr"', rendered.html)
    assert f"\n\n{LINK}\n\n" in rendered.text


@pytest.mark.parametrize(("locale", "direction"), [("he", "rtl"), ("fa-IR", "rtl"), ("UR", "rtl"), ("sv", "ltr")])
def test_a_new_language_gets_its_direction_from_the_layout(tmp_path: Path, locale: str, direction: str) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(SHIPPED, folder)
    shutil.copytree(folder / "welcome" / "en", folder / "welcome" / locale)
    html = Templates.load(folder).render("welcome", locale, VARIABLES["welcome"]).html
    assert f'<html lang="{locale}" dir="{direction}">' in html


def test_a_template_may_set_its_direction_itself(tmp_path: Path) -> None:
    folder = tmp_path / "templates"
    shutil.copytree(SHIPPED, folder)
    shutil.copytree(folder / "welcome" / "en", folder / "welcome" / "az-Arab")
    with (folder / "welcome" / "az-Arab" / "html.html").open("a") as html:
        html.write("{% block dir %}rtl{% endblock %}\n")
    assert Templates.load(folder).render("welcome", "az-Arab", VARIABLES["welcome"]).html.count('dir="rtl"') == 2
