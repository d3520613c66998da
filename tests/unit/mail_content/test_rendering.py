"""Strict rendering: missing, unknown and invalid variables are refused, and values are only ever text."""

import pytest
from pydantic import JsonValue

from services.mail.errors import VariablesRejected
from services.mail.intake.template_engine import Templates

LINK = "https://signup.example/verify/abc"
GOOD: dict[str, JsonValue] = {"name": "Ada", "link": LINK, "expires_in_hours": 48}


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates.load()


@pytest.fixture(scope="module")
def with_subject(tmp_path_factory: pytest.TempPathFactory) -> Templates:
    """A template whose subject is a variable."""
    folder = tmp_path_factory.mktemp("templates")
    place = folder / "note" / "en"
    place.mkdir(parents=True)
    (folder / "note" / "template.toml").write_text(
        'description = "A note"\ndefault_locale = "en"\non_uncertain = "hold"\non_uncertain_reason = "An example"\n'
        '[variables.topic]\nrequired = true\nkind = "text"\ndescription = "The subject"\n'
    )
    (place / "subject.txt").write_text("{{ topic }}\n")
    (place / "text.txt").write_text("About {{ topic }}\n")
    (place / "html.html").write_text("<p>About {{ topic }}</p>\n")
    return Templates.load(folder)


def rejected(templates: Templates, name: str, variables: dict[str, JsonValue]) -> list[str]:
    """The pointers that the refusal names."""
    with pytest.raises(VariablesRejected) as refused:
        templates.render(name, None, variables)
    assert refused.value.status == 422
    assert refused.value.slug == "invalid-variables"
    assert all(error["detail"] for error in refused.value.errors)
    return [error["pointer"] for error in refused.value.errors]


@pytest.mark.parametrize(
    ("requested", "chosen"),
    [
        *[(None, "en"), ("", "en"), ("en", "en"), ("de", "de"), ("de-AT", "de"), ("de_CH", "de"), ("DE-at-1996", "de")],
        *[
            ("en-GB", "en"),
            ("fr-CH", "fr"),
            ("pt-BR", "pt"),
            ("sv", "en"),
            ("sv-FI", "en"),
            ("den", "en"),
            ("../de", "en"),
            ("-", "en"),
        ],
    ],
)
def test_a_locale_falls_back_to_its_language_and_then_to_the_default(
    templates: Templates, requested: str | None, chosen: str
) -> None:
    rendered = templates.render("welcome", requested, {"name": "Ada"})
    assert rendered.locale == chosen
    assert f'lang="{chosen}"' in rendered.html


def test_every_missing_and_unknown_variable_is_named(templates: Templates) -> None:
    found = rejected(templates, "verification", {"name": "Ada", "lnik": LINK, "a/b": 1})
    assert found == ["/variables/a~1b", "/variables/expires_in_hours", "/variables/link", "/variables/lnik"]


@pytest.mark.parametrize("value", [None, True, ["Ada"], {"first": "Ada"}, "A\0da", "A\x1bda", "A\x7fda", "\u202eadA"])
def test_a_text_must_be_a_string_or_a_number_without_control_characters(templates: Templates, value: JsonValue) -> None:
    assert rejected(templates, "welcome", {"name": value}) == ["/variables/name"]


@pytest.mark.parametrize("value", ["Ada", 7, 7.5, "Ada\nLovelace", "", "עדה", "👩‍👩‍👧"])
def test_a_text_may_be_any_string_or_number(templates: Templates, value: JsonValue) -> None:
    assert f"Hello{f' {value}' if value != '' else ''},\n" in templates.render("welcome", None, {"name": value}).text


@pytest.mark.parametrize(
    "value",
    [
        *[7, None, "", "verify/abc", "//signup.example/x", "javascript:alert(1)", "ftp://signup.example/", "https://"],
        *["https:///x", "https://signup.example/a b", "https://signup.example/\r\nx", "https://signup.example/\0"],
        *["https://signup.example/\u2028", 'https://signup.example/"onclick', "https://signup.example/<b>"],
        *["https://[::1", "https://signup.example:x/", "https://signup.example/" + "x" * 2000, " " + LINK],
    ],
)
def test_a_url_must_be_an_http_url_without_characters_that_end_a_link(templates: Templates, value: JsonValue) -> None:
    assert rejected(templates, "verification", {**GOOD, "link": value}) == ["/variables/link"]


@pytest.mark.parametrize("value", [LINK, "http://127.0.0.1:8001/verify/x", "https://bücher.example/ü?a=1&b=(2)#c"])
def test_a_url_may_be_any_http_url(templates: Templates, value: str) -> None:
    assert f"\n{value}\n" in templates.render("verification", None, {**GOOD, "link": value}).text


@pytest.mark.parametrize("locale", ["ar", "de", "en"])
def test_names_are_escaped_in_html_and_unchanged_in_text(templates: Templates, locale: str) -> None:
    name = "<script>alert('x')</script> Ada \"& Co\""
    rendered = templates.render("verification", locale, {**GOOD, "name": name, "link": LINK + "?a=1&b='2'"})
    assert name in rendered.text
    assert "<script" not in rendered.html
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; Ada &#34;&amp; Co&#34;" in rendered.html
    assert "?a=1&b='2'" in rendered.text
    assert 'abc?a=1&amp;b=&#39;2&#39;"' in rendered.html


@pytest.mark.parametrize("name", ["{{ link }}", "{{ 7 * 7 }}", "{% raw %}", "{# gone #}", "{{ self.__init__ }}"])
def test_a_value_is_never_evaluated(templates: Templates, with_subject: Templates, name: str) -> None:
    rendered = templates.render("verification", None, {**GOOD, "name": name})
    assert f"Hello {name}," in rendered.text
    assert f"Hello <bdi>{name}</bdi>," in rendered.html
    assert with_subject.render("note", None, {"topic": name}).subject == name


@pytest.mark.parametrize("topic", ["a\nb", "a\r\nBcc: spy@example.org", "a\rb", "a\tb", "a\n"])
def test_a_subject_with_a_line_break_or_control_character_is_refused(with_subject: Templates, topic: str) -> None:
    assert rejected(with_subject, "note", {"topic": topic}) == ["/variables/topic"]


@pytest.mark.parametrize("topic", ["", " ", "\u00a0"])
def test_an_empty_subject_is_refused(with_subject: Templates, topic: str) -> None:
    assert rejected(with_subject, "note", {"topic": topic}) == ["/variables/topic"]


def test_a_subject_is_not_escaped_as_html(with_subject: Templates) -> None:
    assert with_subject.render("note", None, {"topic": 'A & "B" <C>'}).subject == 'A & "B" <C>'


def test_a_refusal_does_not_repeat_the_value(templates: Templates) -> None:
    with pytest.raises(VariablesRejected) as refused:
        templates.render("verification", None, {**GOOD, "link": "ftp://secret.example/token"})
    assert "secret" not in str(refused.value.as_dict())
