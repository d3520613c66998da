"""The pages of `make site`: all are reached, all links lead somewhere, and claims have their sources."""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from docs.site_hooks import ELSEWHERE, entries, in_repository
from tests.support.databases import ROOT

NAV = [page for _, page in entries(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])]
PAGES = sorted([*(ROOT / "docs").rglob("*.md"), *(ROOT / source for source in ELSEWHERE)])
_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def _text(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def _anchors(page: Path) -> set[str]:
    """As code hosts and the site name headings."""
    plain = (re.sub(r"[^\w\- ]", "", re.sub(r"\]\([^)]*\)", "", title)) for title in _HEADING.findall(_text(page)))
    return {title.strip().lower().replace(" ", "-") for title in plain}


def _broken(page: Path) -> Iterator[str]:
    for link in _LINK.findall(_text(page)):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if re.match(r"[a-z]+:", link):
            continue
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            yield link


def test_every_page_is_in_the_sites_navigation_once() -> None:
    reached = [ROOT / in_repository(page) for page in NAV if not page.endswith("/*")]
    folders = {(ROOT / in_repository(page)).parent for page in NAV if page.endswith("/*")}
    assert sorted(reached) == [page for page in PAGES if page.parent not in folders or page.name == "README.md"]


def test_every_link_leads_to_a_file_and_its_anchor_to_a_heading() -> None:
    broken = {str(page.relative_to(ROOT)): list(_broken(page)) for page in PAGES}
    assert {page: links for page, links in broken.items() if links} == {}


def test_each_incident_names_the_story_that_holds_it() -> None:
    page = (ROOT / "docs" / "incidents.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## (\d+)\. [^\n]+\n(.*?)(?=^## )", page, re.MULTILINE | re.DOTALL))
    stories = sorted((ROOT / "tests" / "stories").glob("test_*.py"))
    assert len(sections) == len(stories)
    for story in stories:
        number = str(int(story.name.split("_")[1]))
        assert f"tests/stories/{story.name}" in sections[number]


def test_each_row_of_the_comparison_has_its_source() -> None:
    page = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    _, *rows = [line for line in page.splitlines() if line.startswith("| ")]
    assert rows
    assert [row for row in rows if "](https://" not in row.rsplit(" | ", 1)[1]] == []
