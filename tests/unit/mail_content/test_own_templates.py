"""An operator's folder of templates lies over the shipped one, file by file, and is checked as a whole."""

from pydantic import JsonValue

from services.mail.intake.template_engine import SHIPPED, Templates

from .own_folder import NEW_LOCALE, NOTE, NOTE_FILES, Write

LINK = "https://signup.example/verify/abc"
VARIABLES: dict[str, JsonValue] = {"name": "Ada", "link": LINK, "expires_in_hours": 48}
SPEC = (SHIPPED / "verification" / "template.toml").read_text("utf-8")


def shipped() -> Templates:
    return Templates.load()


def test_an_own_file_stands_in_the_place_of_the_shipped_one_and_of_no_other(own: Write) -> None:
    both = Templates.load(own=own({"verification/en/subject.txt": "Is this you?\n"}))
    ours = shipped().render("verification", "en", VARIABLES)
    theirs = both.render("verification", "en", VARIABLES)
    assert theirs.subject == "Is this you?"
    assert (theirs.text, theirs.html) == (ours.text, ours.html)
    assert (
        both.render("verification", "de", VARIABLES).subject
        == shipped().render("verification", "de", VARIABLES).subject
    )
    assert both.names() == shipped().names()


def test_an_own_layout_is_that_of_the_shipped_templates_too(own: Write) -> None:
    layout = "<html lang='{{ locale }}'><body><b>Our firm</b>{% block content %}{% endblock %}</body></html>\n"
    both = Templates.load(own=own({"layout.html": layout}))
    for name in both.names():
        for rendered in both.preview(name):
            assert "<b>Our firm</b>" in rendered.html
            assert "Ada Lovelace" in rendered.html


def test_a_new_locale_stands_beside_the_shipped_ones(own: Write) -> None:
    both = Templates.load(own=own(NEW_LOCALE))
    assert both.describe("verification")["locales"] == sorted({*shipped().describe("verification")["locales"], "eo"})
    rendered = both.render("verification", "eo-XX", VARIABLES)
    assert (rendered.subject, rendered.locale) == ("Konfirmu vian adreson", "eo")
    assert '<html lang="eo"' in rendered.html


def test_a_new_name_stands_beside_the_shipped_ones(own: Write) -> None:
    both = Templates.load(own=own(NOTE_FILES))
    assert both.names() == sorted([*shipped().names(), "note"])
    assert both.render("note", None, {}).text == "Read this.\n"


def test_a_variable_may_have_the_name_of_what_the_layout_keeps(own: Write) -> None:
    words = ("title", "dir")
    declared = "".join(
        f'[variables.{word}]\nrequired = true\nkind = "text"\ndescription = "A word"\n' for word in words
    )
    files = {
        **NOTE_FILES,
        "note/template.toml": NOTE + declared,
        "note/en/html.html": "{% extends 'layout.html' %}{% block title %}Of {{ title }}{% endblock %}"
        "{% block content %}<i>{{ title }}, {{ dir }}</i>{% endblock %}\n",
    }
    html = Templates.load(own=own(files)).render("note", "en", {"title": "a & b", "dir": "north"}).html
    assert "<i>a &amp; b, north</i>" in html
    assert "<title>Of a &amp; b</title>" in html
    assert '<html lang="en" dir="ltr">' in html


def test_an_own_template_can_use_shipped_files_and_own_ones(own: Write) -> None:
    files = {
        **NOTE_FILES,
        "greeting.html": "<p>Greetings from {% include 'firm.txt.html' %}</p>\n",
        "firm.txt.html": "Our firm",
        "note/en/html.html": "{% extends 'layout.html' %}{% block content %}{% include 'greeting.html' %}"
        "{% endblock %}",
    }
    html = Templates.load(own=own(files)).render("note", "en", {}).html
    assert "<p>Greetings from Our firm</p>" in html
    assert '<div role="article"' in html


def test_the_version_is_that_of_the_files_that_are_used(own: Write) -> None:
    files = {**NOTE_FILES, "note/en/html.html": "{% include 'firm.html' %}", "firm.html": "<p>Our firm</p>"}
    changes = (
        files,
        {"firm.html": "<p>Our company</p>"},
        {"layout.html": "<p>{% block content %}{% endblock %}</p>"},
        {"verification/en/subject.txt": "Is this you?\n"},
    )
    versions = [Templates.load(own=own(change)) for change in changes]

    def changed(before: Templates, after: Templates) -> set[str]:
        versions = [{name: every.describe(name)["version"] for name in every.names()} for every in (before, after)]
        return {name for name in versions[0] if versions[0][name] != versions[1][name]}

    assert changed(shipped(), versions[0]) == set()
    assert changed(versions[0], versions[1]) == {"note"}
    assert changed(versions[1], versions[2]) == set(shipped().names())
    assert changed(versions[2], versions[3]) == {"verification"}


def test_a_change_of_the_files_changes_nothing_until_the_next_start(own: Write) -> None:
    files = {
        **NOTE_FILES,
        "note/en/text.txt": "Read this.{% if locale == 'xx' %}{% include 'more.txt' %}{% endif %}\n",
        "more.txt": "More.",
    }
    folder = own(files)
    templates = Templates.load(own=folder)
    before = [templates.render("note", None, {}), *templates.preview("welcome")]
    for file in (file for file in folder.rglob("*") if file.is_file()):
        file.write_text("changed")
    environment = templates._loaded["note"].locales["en"].text.environment
    assert [templates.render("note", None, {}), *templates.preview("welcome")] == before
    assert environment.get_template("more.txt").render() == "More."


def test_hidden_files_are_ignored(own: Write) -> None:
    folder = own({".git/HEAD": "", "verification/.DS_Store": "", "verification/en/.subject.txt.swp": "", **NOTE_FILES})
    assert "note" in Templates.load(own=folder).names()


def test_a_folder_of_links_as_kubernetes_mounts_it_is_read(own: Write) -> None:
    folder = own({"..data/note/" + place.removeprefix("note/"): content for place, content in NOTE_FILES.items()})
    (folder / "note").symlink_to(folder / "..data" / "note")
    assert "note" in Templates.load(own=folder).names()


def test_an_own_declaration_may_offer_more(own: Write) -> None:
    spec = SPEC + '\n[variables.more]\nrequired = false\nkind = "text"\ndescription = "More"\n'
    described = Templates.load(own=own({"verification/template.toml": spec})).describe("verification")
    assert "more" in described["optional_variables"]
    assert described["required_variables"] == shipped().describe("verification")["required_variables"]


def test_a_preview_has_every_locale_with_the_examples(own: Write) -> None:
    example = '[variables.name]\nrequired = true\nkind = "text"\ndescription = "A name"\nexample = "Grace"\n'
    files = {**NOTE_FILES, "note/template.toml": NOTE + example, "note/en/text.txt": "For {{ name }}\n"}
    files |= {place.replace("/en/", "/nl/"): content for place, content in files.items() if "/en/" in place}
    templates = Templates.load(own=own(files))
    assert [(mail.locale, mail.text) for mail in templates.preview("note")] == [
        ("en", "For Grace\n"),
        ("nl", "For Grace\n"),
    ]
    assert templates.describe("note")["variables"]["name"]["example"] == "Grace"
