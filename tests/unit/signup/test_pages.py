"""The pages in every language, and the start that a missing text stops."""

import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from services.mail.intake.template_engine import Templates
from services.signup.http.pages import SHIPPED, Pages, languages
from shared.contract.configuration import ConfigurationError

FOLDER = SHIPPED
LANGUAGES = languages.load((FOLDER,))
WITHOUT_BRAND = Pages.load()
PAGES = ("already_verified", "busy", "confirm", "expired", "unavailable", "unknown", "verified")
WAY_BACK = {"back", "body_with_way_back"}
BUTTONS = {"busy", "confirm", "unavailable"}


class Outline(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.root: dict[str, str | None] = {}
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "html":
            self.root = dict(attrs)

    def handle_data(self, data: str) -> None:
        self.text += data


def shown(page: str, tag: str) -> Outline:
    return Outline(bytes(WITHOUT_BRAND.render(page, tag).body).decode())


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str, str, str], str]:
    """What the start says after one replacement in one file."""
    folder = tmp_path / "pages"
    shutil.copytree(FOLDER, folder)

    def edit(file: str, old: str, new: str) -> str:
        before = (folder / file).read_text() if (folder / file).exists() else ""
        assert old in before
        (folder / file).write_text(before.replace(old, new) if old else new)
        with pytest.raises(ConfigurationError) as refused:
            Pages.load(shipped=folder)
        return str(refused.value).removeprefix(f"{folder}/")

    return edit


def test_pages_speak_the_languages_of_the_mails() -> None:
    templates = Templates.load()
    for name in templates.names():
        assert templates.describe(name)["locales"] == sorted(LANGUAGES)
    assert sorted(LANGUAGES) == ["ar", "de", "en", "es", "fr", "pt"]


@pytest.mark.parametrize("tag", LANGUAGES)
@pytest.mark.parametrize("page", PAGES)
def test_each_page_is_whole_in_each_language(page: str, tag: str) -> None:
    outline = shown(page, tag)
    assert outline.root == {"lang": tag, "dir": "rtl" if tag == "ar" else "ltr"}
    texts = LANGUAGES[tag].texts[page]
    assert all(text in outline.text for name, text in texts.items() if name not in WAY_BACK)
    assert outline.text.count(texts["title"]) == 2, "as title and heading"
    assert outline.tags.count("h1") == outline.tags.count("title") == 1
    assert ("button" in outline.tags) == ("form" in outline.tags) == (page in BUTTONS)
    assert not {"script", "img", "link", "a"} & set(outline.tags)


def test_there_is_no_page_besides_these_and_no_text_for_another() -> None:
    assert sorted(file.stem for file in FOLDER.glob("*.html")) == sorted((*PAGES, "layout"))
    for language in LANGUAGES.values():
        assert sorted(language.texts) == list(PAGES)


def test_no_two_pages_of_a_language_have_the_same_title() -> None:
    for language in LANGUAGES.values():
        assert len({texts["title"] for texts in language.texts.values()}) == len(PAGES)


def test_an_answer_names_its_language_and_says_that_it_varies() -> None:
    answer = WITHOUT_BRAND.render("expired", "zh, pt-BR;q=0.9, en;q=0.1", 410, {"Retry-After": "1"})
    assert answer.status_code == 410
    assert {name: answer.headers[name] for name in ("Content-Language", "Vary", "Retry-After")} == {
        "Content-Language": "pt",
        "Vary": "Accept-Language",
        "Retry-After": "1",
    }


def test_the_style_has_no_left_and_no_right() -> None:
    style = (FOLDER / "style.css").read_text()
    assert "left" not in style
    assert "right" not in style


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("fr.toml", "note = ", "# ", "fr.toml: note of [confirm] is missing; en.toml has it"),
        ("fr.toml", "[busy]", "[bussy]", "fr.toml: body of [busy] is missing; en.toml has it"),
        (
            *("fr.toml", "[expired]\n", '[expired]\nbutton = "x"\n'),
            "fr.toml: button of [expired] is unknown; en.toml does not have it",
        ),
        ("ar.toml", 'direction = "rtl"', "", "ar.toml: direction must be one of ltr, rtl"),
        ("ar.toml", '"rtl"', '"left"', "ar.toml: direction must be one of ltr, rtl"),
        ("ar.toml", '"rtl"', '["rtl"]', "ar.toml: direction must be one of ltr, rtl"),
        ("de.toml", '"Ihre Adresse ist bestätigt"', '" "', "de.toml: title of [verified] must be a text that is not"),
        ("de.toml", '"Ihre Adresse ist bestätigt"', "1", "de.toml: title of [verified] must be a text that is not"),
        ("de.toml", 'direction = "ltr"', 'direction = "ltr"\nlink = 1', "de.toml: link must be a table"),
        ("de.toml", "[busy]", "[busy", "de.toml: not TOML: "),
        ("nl.toml", "", 'direction = "ltr"\n', "nl.toml: back of [already_verified] is missing; en.toml has it"),
        ("pt_BR.toml", "", 'direction = "ltr"\n', "pt_BR.toml: must be named after a language tag"),
        ("en.toml", "[busy]", "[bussy]", "en.toml: bussy must be both a page and a table of texts"),
        ("new.html", "", "<p>", "en.toml: new must be both a page and a table of texts"),
        ("confirm.html", "texts.note", "texts.nota", "confirm.html, line 7: the page cannot be rendered: "),
        ("layout.html", "language.tag", "language.tga", "layout.html, line 2: the page cannot be rendered: "),
    ],
)
def test_a_fault_in_a_page_or_a_text_stops_the_start_and_is_named(
    broken: Callable[[str, str, str], str], file: str, old: str, new: str, message: str
) -> None:
    assert broken(file, old, new).startswith(message)


def test_a_file_that_is_not_utf_8_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    shutil.copytree(FOLDER, folder)
    (folder / "es.toml").write_bytes(b'direction = "ltr"\n# \xff\n')
    with pytest.raises(ConfigurationError, match=r"es\.toml, line 2: .*not UTF-8"):
        Pages.load(shipped=folder)
    (folder / "en.toml").unlink()
    with pytest.raises(ConfigurationError, match=r"en\.toml: .*No such file"):
        Pages.load(shipped=folder)


def test_one_new_file_is_a_new_language(tmp_path: Path) -> None:
    folder = tmp_path / "pages"
    shutil.copytree(FOLDER, folder)
    shutil.copy(folder / "en.toml", folder / "nl.toml")
    Pages.load(shipped=folder)
    assert list(languages.load((folder,))) == ["en", "ar", "de", "es", "fr", "nl", "pt"]
