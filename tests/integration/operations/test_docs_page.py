"""`/docs` of either service is complete without any other host."""

import re
from html.parser import HTMLParser

import pytest

from shared.http.docs_page import FILES
from tests.integration.operations.conftest import OfService

# Of `'self'`, nothing inline, no eval: what the policy may name.
ALLOWED = {"'none'", "'self'", "data:", "blob:"}


class Loaded(HTMLParser):
    """What a page loads by itself, and what stands inline in it."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        url = given.get("src") or (given.get("href") if tag == "link" else None)
        self.urls += [url] if url else []
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        self.inline += [tag] if tag == "style" or (tag == "script" and not url) else []


async def test_the_page_and_its_files_come_from_here(either: OfService) -> None:
    http = either.api.http
    page = await http.get("/docs?utm_source=chat")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert f"<title>Counterfoil {either.service}</title>" in page.text
    loaded = Loaded()
    loaded.feed(page.text)
    assert {url.rpartition("/")[2] for url in loaded.urls} == FILES.keys(), "the licence too"
    assert loaded.inline == []
    for url in loaded.urls:
        assert re.match(r"docs/[0-9a-f]{12}/[\w.-]+$", url), "relative: it works below a prefix"
        file = await http.get(f"/{url}")
        assert file.status_code == 200, url
        assert file.headers["cache-control"].endswith("immutable")
        assert file.headers["x-content-type-options"] == "nosniff"
        if url.endswith(".css"):
            assert all(found.startswith(('"data:', "data:")) for found in re.findall(r"url\((.*?)\)", file.text))
            assert "@import" not in file.text
        if url.endswith("/docs.js"):
            assert "//" not in re.sub(r"^//.*$", "", file.text, flags=re.MULTILINE), "it names no host"
            assert "validatorUrl: null" in file.text


async def test_the_policy_of_the_page_lets_nothing_else_in(either: OfService) -> None:
    policy = (await either.api.http.get("/docs")).headers["content-security-policy"]
    directives = {name: set(sources) for name, *sources in (part.split() for part in policy.split(";"))}
    assert directives["default-src"] == {"'none'"}
    assert directives["script-src"] == directives["style-src"] == {"'self'"}
    assert set().union(*directives.values()) <= ALLOWED


async def test_a_file_of_another_version_and_one_that_is_not_there_are_not_found(either: OfService) -> None:
    page = (await either.api.http.get("/docs")).text
    mark = re.search(r"docs/(\w+)/docs\.js", page)
    assert mark is not None
    for path in (f"/docs/{'0' * 12}/docs.js", f"/docs/{mark[1]}/docs.css", "/docs/x/..%2Fpage.html", "/redoc"):
        answer = await either.api.http.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json"), path


@pytest.mark.parametrize("asked", ["bytes=0-9", "bytes=9-0", "lines=1", "bytes=99999999-"])
async def test_a_part_of_a_file_is_answered_with_all_of_it(either: OfService, asked: str) -> None:
    page = (await either.api.http.get("/docs")).text
    found = re.search(r"docs/\w+/docs\.js", page)
    assert found is not None
    whole = await either.api.http.get(f"/{found[0]}")
    part = await either.api.http.get(f"/{found[0]}", headers={"Range": asked})
    assert (part.status_code, part.content, part.headers["accept-ranges"]) == (200, whole.content, "none")
