"""What is wrong in an operator's folder of templates is named with its file and line."""

from pathlib import Path

import pytest

from services.mail.intake.template_engine import SHIPPED, Templates
from shared.contract.configuration import ConfigurationError

from .own_folder import NEW_LOCALE, NOTE, NOTE_FILES, Write

# A lookup of text that the template itself gives: it fails once that is marked with its place.
MARKED_DIFFERENTLY = "{% set key %}a{% endset %}<b>{{ {'a': 1}[key] }}"
INCOMPLETE = '[variables.a]\nkind = "text"\ndescription = "A"\n'
COMPLETE = '[variables.b]\nrequired = true\nkind = "text"\ndescription = "B"\n'
SPEC = (SHIPPED / "verification" / "template.toml").read_text("utf-8")


def fault(folder: Path) -> str:
    """What a start with this folder says, the file below the folder first."""
    with pytest.raises(ConfigurationError) as refused:
        Templates.load(own=folder)
    return str(refused.value).removeprefix(f"{folder}/")


@pytest.mark.parametrize(
    ("files", "start"),
    [
        ({"verification/en/txt.txt": "x"}, "verification/en/txt.txt: no template uses this file: here is subject.txt"),
        ({"verification/readme.md": "x"}, "verification/readme.md: no template uses this file: here is template.toml"),
        ({"readme.md": "x"}, "readme.md: no template uses this file"),
        ({"laoyut.html": "<p>x</p>"}, "laoyut.html: no template extends or includes this file"),
        ({"verification/english/subject.txt": "x"}, "verification/english: the folder has the name of no locale"),
        (
            {"verification/pt_BR/subject.txt": "x"},
            "verification/pt_BR: the folder has the name of no locale: Must be sp",
        ),
        ({"verification/EN/subject.txt": "x"}, "verification/EN: another folder spells this locale en"),
        ({"verification/en/old/subject.txt": "x"}, "verification/en/old: no template uses this file"),
        ({"Verification/en/subject.txt": "x"}, "Verification: the folder has the name of no template: Must be lower"),
        ({"layout.html/x": "x"}, "layout.html: the folder has the name of no template"),
        ({"verification/en/text.txt/x": "x"}, "verification/en/text.txt: this is no file"),
    ],
)
def test_a_file_that_no_template_would_use_is_named(own: Write, files: dict[str, str], start: str) -> None:
    assert fault(own(files)).startswith(start)


def test_a_link_that_leads_nowhere_does_not_let_the_shipped_file_through(own: Write) -> None:
    folder = own({"verification/en/text.txt": "Open {{ link }}\n"})
    (folder / "verification" / "en" / "subject.txt").symlink_to(folder / "gone.txt")
    assert fault(folder).startswith("verification/en/subject.txt: this is no file")


@pytest.mark.parametrize("missing", NEW_LOCALE)
def test_a_new_locale_must_be_complete(own: Write, missing: str) -> None:
    folder = own({place: content for place, content in NEW_LOCALE.items() if place != missing})
    assert fault(folder) == f"{missing}: the template cannot be read: No such file or directory"


@pytest.mark.parametrize("missing", NOTE_FILES)
def test_a_new_template_must_be_complete(own: Write, missing: str) -> None:
    folder = own({place: content for place, content in NOTE_FILES.items() if place != missing})
    assert fault(folder).startswith(f"{missing}: ")
    assert fault(folder).endswith(": No such file or directory")


@pytest.mark.parametrize(
    ("files", "start"),
    [
        (
            {"verification/en/text.txt": "{{ link }}\n{{ nmae }}"},
            "verification/en/text.txt, line 2: template.toml does",
        ),
        ({"verification/en/text.txt": "{{ link }}\n\n{{ name"}, "verification/en/text.txt, line 3: "),
        ({"verification/en/text.txt": "Open the link.\n"}, "verification/en/text.txt, line 1: the required URL `link`"),
        ({"verification/en/html.html": "<p>x</p>"}, "verification/en/html.html, line 1: the required URL `link`"),
        (
            {"verification/en/text.txt": "{% if locale == link %}x{% endif %}"},
            "verification/en/text.txt, line 1: nothing",
        ),
        ({"verification/en/subject.txt": "one\ntwo"}, "verification/en/subject.txt, line 1: the subject cannot be"),
        ({"layout.html": "<p>\n{{ nmae }}</p>"}, "layout.html, line 2: "),
        (
            {"layout.html": "<p>\n{% block content %}{% endblock %}\n"},
            "layout.html, line 1: the HTML is not well-formed: ",
        ),
        (
            {"note/en/html.html": "<p>a</p>\n{% include 'no.html' %}"},
            "note/en/html.html, line 2: there is no template no",
        ),
        ({"note/en/html.html": "\n{% include '../x.html' %}"}, "note/en/html.html, line 2: there is no template ../x"),
        ({"note/en/html.html": "\n{% include locale ~ '.html' %}"}, "note/en/html.html, line 2: the name of another"),
        (
            {"note/en/html.html": "\n{% include 'x.txt' %}", "x.txt": "x"},
            "note/en/html.html, line 2: HTML can use only",
        ),
        ({"note/en/html.html": "{% include 'x.html' %}", "x.html": "<p>\n<b>x</p>"}, "x.html, line 2: the HTML is not"),
        ({"note/en/html.html": " \n"}, "note/en/html.html, line 1: nothing is left"),
        ({"layout.html": "\n{% extends 'layout.html' %}"}, "layout.html, line 2: "),
        (
            {"note/en/html.html": MARKED_DIFFERENTLY},
            "note/en/html.html: the HTML is not well-formed: <b> is not closed",
        ),
        ({"note/template.toml": f"{NOTE}{INCOMPLETE}{COMPLETE}"}, "note/template.toml, line 6: variables.a.required: "),
    ],
)
def test_a_fault_is_named_with_its_own_file_and_line(own: Write, files: dict[str, str], start: str) -> None:
    assert fault(own({**NOTE_FILES, **files})).startswith(start)


@pytest.mark.parametrize(
    ("old", "new", "start"),
    [
        ("[variables.name]", "[variables.nome]", "verification/template.toml, line 1: variables.name is missing"),
        ('kind = "text"', 'kind = "url"', "verification/template.toml, line 8: variables.name must be a text"),
        (
            "[variables.name]",
            '[variables.more]\nrequired = true\nkind = "text"\ndescription = "More"\n[variables.name]',
            "verification/template.toml, line 7: variables.more cannot be required",
        ),
        ("72", '"a\\u0000b"', "verification/template.toml, line 21: variables.expires_in_hours.example: Must not"),
        ("72", "true", "verification/template.toml, line 21: variables.expires_in_hours.example: Must be a string"),
        ('"https://', '"ftp://', "verification/template.toml, line 15: variables.link.example: Must be an http"),
    ],
)
def test_an_own_declaration_takes_what_the_services_send(own: Write, old: str, new: str, start: str) -> None:
    changed = SPEC.replace('example = "Ada Lovelace"\n', "").replace(old, new, 1)
    assert fault(own({"verification/template.toml": changed})).startswith(start)
