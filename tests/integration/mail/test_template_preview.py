"""`GET /v1/templates/{name}/preview`: a page that shows a template in every locale, and does nothing else."""

from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from services.mail.app import create_app
from services.mail.settings import Settings
from tests.support.apis import Api, running
from tests.support.databases import Clone

HOSTILE = """</pre></title>"'><script>alert(1)</script><img src=//evil.example/x>"""
NOTE = f"""description = '''{HOSTILE}'''
default_locale = "en"
on_uncertain = "hold"
on_uncertain_reason = "It is an example"
[variables.name]
required = true
kind = "text"
description = "A name"
example = '''{HOSTILE}'''
"""


class Elements(HTMLParser):
    """The elements of a page with their attributes, and the text of each `pre`."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.preformatted: list[str] = []
        self._preformatting = False
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._preformatting |= tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        self._preformatting &= tag != "pre"

    def handle_data(self, data: str) -> None:
        if self._preformatting:
            self.preformatted.append(data.removeprefix("\n"))  # as browsers drop it

    def frames(self) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == "iframe"]


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A template whose every value is hostile, and whose HTML does not even escape."""
    (tmp_path / "note" / "en").mkdir(parents=True)
    (tmp_path / "note" / "template.toml").write_text(NOTE)
    for part, content in (
        ("subject.txt", "{{ name }}"),
        ("text.txt", "{{ name }}"),
        ("html.html", "<b>{{ name }}</b>"),
    ):
        (tmp_path / "note" / "en" / part).write_text(content)
    (tmp_path / "note" / "nl").mkdir()
    for part, content in (("subject.txt", "a"), ("text.txt", "a"), ("html.html", "<script>alert(2)</script>")):
        (tmp_path / "note" / "nl" / part).write_text(content)
    return tmp_path


@pytest.fixture
async def api(mail_database: Clone, redis_url: str, own: Path) -> AsyncIterator[Api]:
    settings = Settings(
        mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url, mail_templates=str(own)
    )
    async with running(create_app(settings), mail_database.database) as api:
        yield api


@pytest.fixture
async def reader(api: Api) -> AsyncIterator[httpx.AsyncClient]:
    async with await api.as_client("shop", ["mails:read"]) as http:
        yield http


async def test_the_page_has_each_locale_with_text_beside_html(reader: httpx.AsyncClient) -> None:
    answer = await reader.get("/v1/templates/verification/preview")
    described = (await reader.get("/v1/templates/verification")).json()
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    page = Elements(answer.text)
    sections = [attributes["lang"] for tag, attributes in page.found if tag == "section"]
    assert sections == described["locales"]
    variables = {key: variable["example"] for key, variable in described["variables"].items()}
    for locale, text, frame in zip(sections, page.preformatted, page.frames(), strict=True):
        rendered = await reader.post(
            "/v1/templates/verification/preview", json={"locale": locale, "variables": variables}
        )
        assert (text, frame["srcdoc"]) == (rendered.json()["text"], rendered.json()["html"])
        assert rendered.json()["subject"] in answer.text


async def test_nothing_on_the_page_runs_or_is_loaded(reader: httpx.AsyncClient) -> None:
    answer = await reader.get("/v1/templates/note/preview")
    page = Elements(answer.text)
    assert {tag for tag, _ in page.found} & {"script", "img", "b", "link", "a", "form"} == set()
    assert [frame["sandbox"] for frame in page.frames()] == ["", ""]
    assert page.preformatted == [HOSTILE, "a"]
    assert page.frames()[1]["srcdoc"] == "<script>alert(2)</script>"
    escaped = Elements(str(page.frames()[0]["srcdoc"]))
    assert [tag for tag, _ in escaped.found] == ["b"]
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ")
    assert policy.endswith("; frame-ancestors 'none'; sandbox")
    # A page that was saved has no headers.
    (saved,) = (each["content"] for _, each in page.found if each.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith(str(saved))
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_preview_needs_a_key_and_a_template_that_exists(api: Api, reader: httpx.AsyncClient) -> None:
    unknown = await reader.get("/v1/templates/nonesuch/preview")
    assert (unknown.status_code, unknown.headers["content-type"]) == (404, "application/problem+json")
    assert (await reader.get("/v1/templates/note/preview?locale=en")).status_code == 422
    assert (await api.http.get("/v1/templates/note/preview")).status_code == 401
    async with await api.as_client("other", ["mails:send"]) as sender:
        assert (await sender.get("/v1/templates/note/preview")).status_code == 403


async def test_a_mail_keeps_its_content_when_templates_change(
    api: Api, own: Path, mail_database: Clone, redis_url: str
) -> None:
    mail = {"request_id": "1", "to": {"email": "a@x.example"}, "template": "note", "variables": {"name": "Ada"}}
    async with await api.as_client("shop", ["mails:send", "mails:read"]) as client:
        sent = (await client.post("/v1/mails", json=mail)).json()
    (own / "note" / "en" / "subject.txt").write_text("Changed")
    settings = Settings(
        mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url, mail_templates=str(own)
    )
    async with (
        running(create_app(settings), mail_database.database) as restarted,
        await restarted.as_client("shop", ["mails:send", "mails:read"]) as client,
    ):
        replayed = await client.post("/v1/mails", json=mail)
        later = (await client.post("/v1/mails", json=mail | {"request_id": "2"})).json()
    assert replayed.headers["Idempotent-Replayed"] == "true"
    assert (replayed.json()["subject"], replayed.json()["template_version"]) == ("Ada", sent["template_version"])
    assert later["subject"] == "Changed"
    assert later["template_version"] != sent["template_version"]
