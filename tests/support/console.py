"""The console as an operator's browser without scripts sees it: it keeps cookies, follows links and posts forms."""

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx
import uvicorn
from fastapi import FastAPI

_VOID = frozenset(("meta", "link", "input", "img", "br", "hr"))


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The app on a port of its own; its URL."""
    listening = socket.create_server(("127.0.0.1", 0))  # connections wait in it until the server has started
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    serving = asyncio.create_task(server.serve([listening]))
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        await serving


@dataclass
class Form:
    action: str
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    buttons: list[tuple[str, str]] = field(default_factory=list)


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.forms: list[Form] = []
        self.links: list[tuple[str, str]] = []
        self.tags: list[tuple[str, Mapping[str, str]]] = []
        self.open: list[str] = []
        self.title = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.tags.append((tag, values))
        if tag not in _VOID:
            self.open.append(tag)
        if tag == "form":
            self.forms.append(Form(values.get("action", ""), values.get("method", "get")))
        elif tag == "a":
            self.links.append((values["href"], ""))
        elif tag == "input" and self.forms and "name" in values:
            is_off = values.get("type") in {"checkbox", "radio"} and "checked" not in values
            self.forms[-1].fields += [] if is_off else [(values["name"], values.get("value", ""))]
        elif tag == "button" and self.forms and "name" in values:
            self.forms[-1].buttons.append((values["name"], values["value"]))

    def handle_endtag(self, tag: str) -> None:
        assert tag in self.open, f"</{tag}> closes nothing"
        while self.open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "title" in self.open:
            self.title += data
        elif data.strip():
            self.texts.append(data.strip())
            if "a" in self.open:
                href, text = self.links[-1]
                self.links[-1] = (href, f"{text} {data.strip()}".strip())


@dataclass(frozen=True)
class Shown:
    """A page that was answered."""

    status: int
    url: httpx.URL
    html: str
    headers: httpx.Headers
    title: str
    text: str
    forms: list[Form]
    links: list[tuple[str, str]]
    tags: list[tuple[str, Mapping[str, str]]]

    @classmethod
    def of(cls, answer: httpx.Response) -> "Shown":
        reader = _Reader()
        reader.feed(answer.text)
        text = " ".join(reader.texts)
        return cls(
            answer.status_code, answer.url, answer.text, answer.headers, reader.title, text, reader.forms,
            reader.links, reader.tags,
        )  # fmt: skip

    def form(self, action: str, hidden: Mapping[str, str] | None = None) -> Form:
        """The form that posts there, with these hidden values."""
        wanted = set((hidden or {}).items())
        found = [form for form in self.forms if form.action == action and wanted <= set(form.fields)]
        assert found, f"no form for {action} {hidden}: {[form.action for form in self.forms]}"
        return found[0]

    def hrefs(self) -> list[str]:
        return [href for href, _ in self.links]


@dataclass(frozen=True)
class Operated:
    """A browser at the console of `url`."""

    http: httpx.AsyncClient

    async def get(self, path: str, **headers: str) -> Shown:
        return Shown.of(await self.http.get(path, headers=headers, follow_redirects=True))

    async def post(self, path: str, fields: Mapping[str, str], **headers: str) -> Shown:
        return Shown.of(await self.http.post(path, data=dict(fields), headers=headers, follow_redirects=True))

    async def submit(
        self,
        page: Shown,
        action: str,
        typed: Mapping[str, str] | None = None,
        *,
        hidden: Mapping[str, str] | None = None,
    ) -> Shown:
        """Send the form as a browser would: what stands in it, and what is typed or pressed.

        `hidden` tells forms with the same action apart.
        """
        form = page.form(action, hidden or {})
        typed = typed or {}
        names = {name for name, _ in [*form.fields, *form.buttons]}
        assert typed.keys() <= names, f"the form has no {typed.keys() - names}"
        return await self.post(action, dict(form.fields) | dict(typed))

    async def sign_in(self, key: str, mail_key: str = "") -> Shown:
        page = await self.get("/console/sign-in")
        return await self.submit(page, "/console/sign-in", {"key": key, "mail_key": mail_key})


@asynccontextmanager
async def browsing(url: str) -> AsyncIterator[Operated]:
    async with httpx.AsyncClient(base_url=url, timeout=30, trust_env=False) as http:
        yield Operated(http)


def check(page: Shown, *, status: int = 200) -> Shown:
    """The rules for every page of the console."""
    assert page.status == status, page.text
    assert [tag for tag, _ in page.tags].count("h1") == 1
    assert page.title.endswith("Counterfoil console")
    assert page.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-store"
    for tag, values in page.tags:
        assert tag != "style", "no style stands inline"
        assert not any(name.startswith("on") or name == "style" for name in values), (tag, values)
        if tag in {"script", "img", "link"}:
            place = values.get("src") or values.get("href", "")
            assert place.startswith("/console/static/"), place
        if tag == "a":
            assert values["href"].startswith(("/console", "#")), values
    return page
