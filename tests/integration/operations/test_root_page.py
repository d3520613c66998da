"""`/` of either service tells people and programs what it is and where to go."""

from html.parser import HTMLParser

import pytest

from shared.http.root_page import preferred
from tests.integration.operations.conftest import OfService

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
CURL = "*/*"


class Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [value for key, value in attrs if tag == "a" and key == "href"]


async def test_a_browser_gets_a_page_whose_links_lead_somewhere(either: OfService) -> None:
    answer = await either.api.http.get("/?utm_source=chat", headers={"Accept": BROWSER})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.headers["vary"] == "Accept"
    assert f"<h1>Counterfoil {either.service} 0.1.0</h1>" in answer.text
    page = Page()
    page.feed(answer.text)
    assert {"/docs", "/openapi.json", "/health"} <= set(page.links)
    for link in page.links:
        assert link is not None
        assert (await either.api.http.get(link)).status_code in {200, 303, 401}, link  # 303: sign in first


async def test_curl_gets_the_same_as_json(either: OfService) -> None:
    answer = await either.api.http.get("/", headers={"Accept": CURL})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.json()["service"] == f"Counterfoil {either.service}"
    assert answer.json()["description"]
    assert "/docs" in [link["path"] for link in answer.json()["links"]]
    assert answer.text.endswith("\n")


async def test_text_is_answered_to_whoever_asks_for_text(either: OfService) -> None:
    answer = await either.api.http.get("/", headers={"Accept": "text/plain"})
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith(f"Counterfoil {either.service} 0.1.0\n")
    assert "\n/docs" in answer.text


@pytest.mark.parametrize("accept", [BROWSER, CURL])
async def test_head_has_the_headers_of_get_and_no_body(either: OfService, accept: str) -> None:
    get = await either.api.http.get("/", headers={"Accept": accept})
    head = await either.api.http.head("/", headers={"Accept": accept})
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-type", "content-length", "vary"):
        assert head.headers[name] == get.headers[name]


async def test_the_openapi_document_describes_the_page_and_its_media_types(either: OfService) -> None:
    root = (await either.api.http.get("/openapi.json")).json()["paths"]["/"]["get"]
    assert set(root["responses"]["200"]["content"]) == {"application/json", "text/html", "text/plain"}


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("application/*", "json"),
        ("text/*", "html"),
        ("text/plain, text/html;q=0.5", "plain"),
        ("TEXT/HTML", "html"),
        ("text/html;q=0, */*", "json"),
        ("text/html;level=1;q=0.2, application/json;q=0.1", "html"),
        ("application/json;q=nonsense, text/plain;q=0.1", "plain"),
        ("image/png", "json"),
    ],
)
def test_the_preferred_media_type_is_the_one_of_highest_quality(accept: str, media: str) -> None:
    offered = {"json": "application/json", "html": "text/html", "plain": "text/plain"}
    assert preferred(accept, tuple(offered.values())) == offered[media]
