"""The built-in templates, and the rules for a folder of templates."""

from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from pydantic import JsonValue

from services.mail.delivery.message import build
from services.mail.errors import UnknownTemplate
from services.mail.intake.template_engine import Rendered, Templates
from shared.contract.configuration import ConfigurationError

from .mails import mail, parse, text_of

LINK = "https://signup.example/verify/abc?x=1&y=2"
VARIABLES: dict[str, dict[str, JsonValue]] = {
    "already-registered": {"name": "Ada"},
    "verification": {"name": "Ada", "link": LINK, "expires_in_hours": 48},
    "welcome": {"name": "Ada"},
}
LOCALES = ["ar", "de", "en", "es", "fr", "pt"]
EACH = [(name, locale) for name in VARIABLES for locale in LOCALES]
SPEC = """
description = "An example"
default_locale = "en"
on_uncertain = "hold"
on_uncertain_reason = "It is an example"
[variables.name]
required = true
kind = "text"
description = "A name"
[variables.place]
required = false
kind = "text"
description = "A place"
"""
VOID = {"meta", "br"}


@pytest.fixture(scope="module")
def templates() -> Templates:
    return Templates.load()


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    def write(
        spec: str = SPEC, subject: str = "Hello", text: str = "Hello {{ name }}\n", html: str = "<p>Hi</p>\n"
    ) -> Path:
        (tmp_path / "example" / "en").mkdir(parents=True, exist_ok=True)
        (tmp_path / "example" / "template.toml").write_text(spec, errors="surrogateescape")
        for part, source in (("subject.txt", subject), ("text.txt", text), ("html.html", html)):
            (tmp_path / "example" / "en" / part).write_text(source)
        return tmp_path

    return write


class Outline(HTMLParser):
    """The elements of a page; fails where they do not nest."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str | None] = []
        self.languages: list[str | None] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        self.links += [value for key, value in attrs if key == "href"]
        self.languages += [value for key, value in attrs if key == "lang"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_service_has_three_templates_each_in_six_languages(templates: Templates) -> None:
    assert templates.names() == ["already-registered", "verification", "welcome"]
    for name in templates.names():
        assert templates.describe(name)["locales"] == LOCALES


@pytest.mark.parametrize(("name", "locale"), EACH)
def test_each_template_makes_a_well_formed_page_in_its_language(templates: Templates, name: str, locale: str) -> None:
    rendered = templates.render(name, locale, VARIABLES[name])
    outline = Outline()
    outline.feed(rendered.html)
    outline.close()
    assert outline.open == []
    assert outline.languages == [locale, locale]
    assert not outline.tags & {"table", "img", "script", "link"}
    assert "<bdi>Ada</bdi>" in rendered.html


@pytest.mark.parametrize("locale", LOCALES)
def test_the_verification_mail_has_the_link_as_a_button_and_as_text(templates: Templates, locale: str) -> None:
    rendered = templates.render("verification", locale, VARIABLES["verification"])
    outline = Outline()
    outline.feed(rendered.html)
    assert outline.links == [LINK, LINK]
    assert f"\n{LINK}\n" in rendered.text
    assert "48" in rendered.text
    assert "48" in rendered.html


@pytest.mark.parametrize(("name", "locale"), EACH)
def test_rendered_content_is_read_back_unchanged(templates: Templates, name: str, locale: str) -> None:
    rendered = templates.render(name, locale, VARIABLES[name])
    message = parse(build(mail(subject=rendered.subject, text=rendered.text, html=rendered.html)))
    assert message["subject"] == rendered.subject
    assert [text_of(part) for part in message.iter_parts()] == [rendered.text, rendered.html]


def test_each_template_has_a_policy_for_an_unknown_outcome_and_a_reason(templates: Templates) -> None:
    assert {name: templates.on_uncertain(name) for name in templates.names()} == {
        "already-registered": "hold",
        "verification": "resend",
        "welcome": "hold",
    }
    for name in templates.names():
        assert templates.describe(name)["on_uncertain_reason"]


def test_a_description_names_every_variable_and_whether_it_is_needed(folder: Callable[..., Path]) -> None:
    described = Templates.load(folder()).describe("example")
    assert described["required_variables"] == ["name"]
    assert described["optional_variables"] == ["place"]
    assert described["variables"]["name"] == {"required": True, "kind": "text", "description": "A name"}
    assert described["default_locale"] == "en"
    assert described["description"] == "An example"


def test_a_template_that_does_not_exist_is_refused(templates: Templates) -> None:
    with pytest.raises(UnknownTemplate) as refused:
        templates.render("nonesuch", None, {})
    assert refused.value.status == 422
    assert [error["pointer"] for error in refused.value.errors] == ["/template"]
    for ask in (templates.describe, templates.on_uncertain):
        with pytest.raises(UnknownTemplate):
            ask("../welcome")


def test_the_version_is_stable_and_changes_with_any_file(folder: Callable[..., Path]) -> None:
    def version(**changes: str) -> str:
        return str(Templates.load(folder(**changes)).describe("example")["version"])

    first = version()
    assert first == version()
    changed = [version(spec=SPEC + "\n"), version(subject="Hi"), version(text="Hi\n"), version(html="<p>Ho</p>\n")]
    for layout in ("<p>a</p>", "<p>b</p>"):
        (folder() / "layout.html").write_text(layout)
        changed.append(version(html="{% extends 'layout.html' %}"))
    assert len({first, *changed}) == 7
    assert all(len(text) == 12 and int(text, 16) >= 0 for text in changed)


def test_rendering_says_which_version_it_used(templates: Templates) -> None:
    rendered = templates.render("welcome", None, {"name": "Ada"})
    assert isinstance(rendered, Rendered)
    assert rendered.version == templates.describe("welcome")["version"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"text": "{{ nmae }}"}, "does not declare"),
        ({"html": "{{ place }}"}, "cannot be rendered"),
        ({"subject": ""}, "cannot be rendered"),
        ({"subject": "a\nb"}, "cannot be rendered"),
        ({"text": "{{ name.__class__.__mro__ }}"}, "cannot be rendered"),
        ({"spec": SPEC.replace('"en"', '"fr"')}, "default locale"),
        ({"spec": SPEC.replace("variables.place", "variables.locale")}, "set by the renderer"),
        ({"spec": SPEC.replace('"hold"', '"maybe"')}, "on_uncertain"),
        ({"spec": SPEC.replace("required = true\n", "")}, "required"),
        ({"spec": "description ="}, "template.toml"),
    ],
)
def test_a_broken_template_is_refused_when_it_is_loaded(
    folder: Callable[..., Path], changes: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Templates.load(folder(**changes))


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"text": "Hello\n{{ name \n"}, "example/en/text.txt, line 2"),
        ({"text": "Hello\n\n{{ name|uper }}\n"}, "example/en/text.txt, line 3"),
        ({"text": "Hello\n{{ nmae }}\n"}, "example/en/text.txt, line 2"),
        ({"text": "Hello\n{{ 1 / 0 }}\n"}, "example/en/text.txt, line 2"),
        ({"html": "<p>\n{% include 'none.html' %}\n"}, "example/en/html.html, line 2"),
        ({"html": "{% extends 'layout.html' %}", "layout": "<p>\n{% if %}"}, "layout.html, line 2"),
        ({"html": "{% extends 'layout.html' %}", "layout": "<p>\n{{ nmae }}"}, "layout.html, line 2"),
        ({"html": "{% extends 'layout.html' %}", "layout": "<p>\n\udcff"}, "layout.html, line 2"),
        ({"subject": ""}, "example/en/subject.txt, line 1"),
        ({"spec": "description = 'x'\nlocale ="}, "example/template.toml, line 2"),
        ({"spec": "description = 'x"}, "example/template.toml, line 1"),
        ({"spec": SPEC.replace('"hold"', '"maybe"')}, "example/template.toml, line 4"),
        ({"spec": SPEC.replace('"en"', '"fr"')}, "example/template.toml, line 3"),
        ({"spec": SPEC.replace('"A place"', '""')}, "example/template.toml, line 13"),
        ({"spec": SPEC.replace("required = false\n", "")}, "example/template.toml, line 10"),
        ({"spec": "description = '\udcff'"}, "example/template.toml, line 1"),
    ],
)
def test_a_fault_is_named_with_its_file_and_line(
    folder: Callable[..., Path], changes: dict[str, str], place: str
) -> None:
    path = folder(**{key: source for key, source in changes.items() if key != "layout"})
    if "layout" in changes:
        (path / "layout.html").write_text(changes["layout"], errors="surrogateescape")
    with pytest.raises(ConfigurationError) as refused:
        Templates.load(path)
    assert str(refused.value).startswith(f"{path}/{place}: ")


@pytest.mark.parametrize("file", ["template.toml", "en/subject.txt", "en/text.txt", "en/html.html"])
def test_a_missing_file_of_a_template_is_named(folder: Callable[..., Path], file: str) -> None:
    path = folder()
    (path / "example" / file).unlink()
    with pytest.raises(ConfigurationError, match=f"example/{file}: .*No such file"):
        Templates.load(path)
