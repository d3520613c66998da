"""A product of another name, with templates, pages and a language of its own: from sign-up to the button back to it.

Not named test_*: `make test` must not collect it, because it needs Chromium.
"""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.support.running import open_ledgers, started
from tests.support.stack import Ledgers, Stack, eventually

from .chromium import Chromium
from .page import Page

NAME, WELCOME_BACK = "Bottega Uno", "Bentornata alla bottega"
MAILS = {
    "verification": ("Conferma il tuo indirizzo", "Apri questo link: {{ link }}\nVale {{ expires_in_hours }} ore."),
    "welcome": ("Benvenuta", "Il tuo indirizzo è confermato."),
    "already-registered": ("Hai già un conto", "Qualcuno ha usato questo indirizzo: il conto c'è già."),
}
PAGES = """
direction = "ltr"
[confirm]
title = "Conferma il tuo indirizzo"
body = "Manca un passo."
button = "Confermo"
note = "Se non sei stata tu, chiudi la pagina."
[verified]
title = "Indirizzo confermato"
body = "Grazie. Puoi chiudere la pagina."
body_with_way_back = "Grazie."
back = "Torna alla bottega"
[already_verified]
title = "Era già confermato"
body = "Non resta nulla da fare."
body_with_way_back = "Non resta nulla da fare."
back = "Torna alla bottega"
[expired]
title = "Il link è scaduto"
body = "Iscriviti di nuovo."
[unknown]
title = "Il link non funziona"
body = "Iscriviti di nuovo."
[busy]
title = "Troppi tentativi"
body = "Aspetta un minuto."
button = "Riprova"
[unavailable]
title = "Ora non funziona"
body = "Aspetta un minuto."
button = "Riprova"
"""
SIGN_UP = """
(() => {
  const request = new XMLHttpRequest();
  request.open('POST', '/v1/signups', false);
  request.setRequestHeader('Content-Type', 'application/json');
  request.send(JSON.stringify({email: '%s', name: 'Zoë', locale: 'it', return_to: '%s'}));
  return request.status;
})()
"""


class _Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(f"<!doctype html><title>{NAME}</title><h1>{WELCOME_BACK}</h1>".encode())

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def shop() -> Iterator[str]:
    """The product's own page."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Shop)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def _templates(folder: Path) -> Path:
    for name, (subject, text) in MAILS.items():
        own = folder / name / "it"
        own.mkdir(parents=True)
        (own / "subject.txt").write_text(subject)
        (own / "text.txt").write_text(f"Ciao {{{{ name }}}},\n{text}\n")
        body = "".join(f"<p>{line}</p>" for line in text.splitlines())
        (own / "html.html").write_text(
            '{% extends "layout.html" %}{% block title %}' + subject + "{% endblock %}"
            "{% block content %}" + body + "{% endblock %}{% block reason %}Scrivici.{% endblock %}"
        )
    return folder


def _pages(folder: Path) -> Path:
    folder.mkdir()
    (folder / "it.toml").write_text(PAGES)
    return folder


@pytest.fixture
def stack(shop: str, tmp_path: Path) -> Iterator[Stack]:
    settings = {
        "MAIL_TEMPLATES": str(_templates(tmp_path / "templates")),
        "SIGNUP_PAGES": str(_pages(tmp_path / "pages")),
        "SIGNUP_PRODUCT_NAME": NAME,
        "SIGNUP_ACCENT_COLOR": "#7a1fa2",
        "SIGNUP_SUPPORT_EMAIL": "aiuto@bottega.example",
        "SIGNUP_RETURN_URLS": shop,
        "MAIL_FROM": f"{NAME} <ciao@bottega.example>",
    }
    with started(Stack(tmp_path / "stack", settings=settings)) as stack:
        yield stack


async def test_mail_page_and_button_say_nothing_of_ours(browser: Chromium, shop: str, stack: Stack) -> None:
    async with open_ledgers(stack) as ledgers:
        await _sign_up_and_come_back(ledgers, browser.page(), shop)


async def _sign_up_and_come_back(ledgers: Ledgers, page: Page, shop: str) -> None:
    email = "zoe@customer.example"
    page.speak("it")
    page.open(f"{ledgers.stack.signup_url}/signup/example")
    assert page.evaluate(SIGN_UP % (email, f"{shop}conto")) == 202

    link = ""
    for subject, count in (("Conferma il tuo indirizzo", 1), ("Benvenuta", 2)):
        caught = await eventually(
            lambda: ledgers.caught(email),
            lambda found, count=count: len(found) == count,  # type: ignore[misc]
            what=subject,
        )
        newest = max(caught, key=lambda mail: mail["Created"])
        message = (await ledgers.catcher.get(f"/api/v1/message/{newest['ID']}")).json()
        assert message["Subject"] == subject
        assert message["From"]["Name"] == NAME
        for part in (message["Subject"], message["Text"], message["HTML"]):
            assert "counterfoil" not in part.lower()
        assert NAME in message["HTML"]
        if count == 1:
            (link,) = [word for word in message["Text"].split() if "/verify/" in word]
            page.open(link)
            _says_nothing_of_ours(page, "Conferma il tuo indirizzo")
            assert page.buttons() == ["Confermo"]
            page.press_button()
            _says_nothing_of_ours(page, "Indirizzo confermato")
            page.press_button("main a")
            assert page.headings() == [WELCOME_BACK]
            assert page.evaluate("location.href") == f"{shop}conto"


def _says_nothing_of_ours(page: Page, heading: str) -> None:
    assert page.headings() == [heading]
    assert page.evaluate("document.documentElement.lang") == "it"
    seen = page.evaluate("document.title + document.body.innerText")
    assert "counterfoil" not in seen.lower()
    assert NAME in seen
