"""Both services, each on a port of its own, one pair for each module; an operator and their browser for each test.

All tests of a module share the databases, so each looks only at what it made.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import pytest_asyncio
from fastapi import FastAPI

from services.mail.app import create_app as create_mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.app import create_app
from services.signup.outbox.effects.mail import MailEffect
from services.signup.settings import Settings
from services.signup.verification_token import TokenRing
from shared.db import api_keys
from shared.db.pool import DatabaseOptions, open_database
from shared.worker.circuit_breaker import Breaker
from tests.support.console import Operated, browsing, served
from tests.support.databases import Clone, Server
from tests.support.delivery import PATIENT, make_rig, smtp_gateway
from tests.support.relays import LoneRelay
from tests.support.scripted_smtp import Script, scripted_smtp
from tests.support.stack import MAIL_SCOPES, SIGNUP_SCOPES

TOKEN_KEYS = "k" * 32


@dataclass(frozen=True)
class Desk:
    """Both services and their databases. `app` and `settings` are signup's."""

    app: FastAPI
    url: str
    mail_url: str
    signup: Clone
    mail: Clone
    settings: Settings

    async def key(
        self, client: str, signup: tuple[str, ...] = SIGNUP_SCOPES, mail: tuple[str, ...] = MAIL_SCOPES
    ) -> api_keys.ApiKey:
        """A key with these scopes at the two services. Without scopes at one, that does not know it."""
        key = api_keys.mint()
        for clone, scopes in ((self.signup, signup), (self.mail, mail)):
            if scopes:
                async with clone.database.pool.acquire() as connection:
                    await api_keys.store(connection, key, client=client, scopes=scopes, days=None, actor="test")
        return key

    async def relay(self) -> None:
        """Hand over every mail that is owed."""
        effect = MailEffect.connect(self.settings, TokenRing.from_setting(TOKEN_KEYS))
        relay = LoneRelay(self.signup.database.pool, effect, breaker=Breaker("mail"), batch=50, lease_seconds=30)
        try:
            while await relay.run_once():
                pass
        finally:
            await effect.close()

    async def deliver(self, script: Script) -> None:
        """Send what is queued to a gateway that follows the script."""
        async with scripted_smtp(script) as server:
            rig = make_rig(self.mail.database.pool, [smtp_gateway(server.port, timeouts=PATIENT)])
            try:
                await rig.deliver()
            finally:
                await rig.close()

    async def sign_up(self, email: str, name: str) -> str:
        """As the example form does. Returns the user's ID."""
        async with httpx.AsyncClient(base_url=self.url, timeout=30) as http:
            answer = await http.post("/v1/signups", json={"email": email, "name": name})
            assert answer.status_code == 202, answer.text
        pool = self.signup.database.pool
        return str(await pool.fetchval("SELECT id FROM users WHERE email_key = $1", email.lower()))

    async def mail_state(self, mail_id: str) -> str:
        state: str = await self.mail.database.pool.fetchval("SELECT state FROM mails WHERE id = $1::uuid", mail_id)
        return state

    async def done_by(self, actor: str, *, service: str = "signup") -> list[str]:
        """The kinds of entries with this actor in history, the oldest first."""
        clone = self.signup if service == "signup" else self.mail
        rows = await clone.database.pool.fetch("SELECT kind FROM history WHERE actor = $1 ORDER BY id", actor)
        return [row["kind"] for row in rows if row["kind"] != "console.signed_in"]


@dataclass(frozen=True)
class Operator(Operated):
    """A browser in which an operator with every scope has signed in. `who` is the actor in history."""

    client: str
    key: str
    desk: Desk

    @property
    def who(self) -> str:
        return f"console:{self.client}"

    @property
    def bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    async def ask_for_mail(self, to: str, **more: Any) -> str:
        """As another service does, with the operator's key. Returns the mail's ID."""
        mail = {"request_id": uuid4().hex, "to": {"email": to}, "subject": "An invoice", "text": "Hello", **more}
        async with httpx.AsyncClient(base_url=self.desk.mail_url, headers=self.bearer) as http:
            answer = await http.post("/v1/mails", json=mail)
            assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])


Open = Callable[..., Awaitable[Desk]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def open_desk(postgres_server: Server, valkey_url: str) -> AsyncIterator[Open]:
    """Starts both services on the module's databases; the settings are signup's."""
    async with AsyncExitStack() as stack:
        clones = {}
        for service in ("signup", "mail"):
            name = await postgres_server.clone(service)
            stack.push_async_callback(postgres_server.drop, name)
            runtime_url = postgres_server.url(name, f"{service}_app")
            database = await open_database(DatabaseOptions(runtime_url, "test"))
            stack.push_async_callback(database.close)
            clones[service] = Clone(postgres_server.url(name, f"{service}_owner"), runtime_url, database)

        async def start(**settings: Any) -> Desk:
            mail_settings = MailSettings(
                mail_runtime_database_url=clones["mail"].runtime_url,
                redis_url=valkey_url,
                mail_webhook_keys="w" * 32,
                mail_webhook_allow_private=True,
            )
            mail_url = await stack.enter_async_context(served(create_mail_app(mail_settings)))
            own = api_keys.mint()
            async with clones["mail"].database.pool.acquire() as connection:
                scopes = ("mails:send", "mails:read", "mails:operate")
                await api_keys.store(connection, own, client="signup", scopes=scopes, days=None, actor="test")
            # The first list loads SQLAlchemy, which takes a loaded machine longer than the console waits.
            async with httpx.AsyncClient(base_url=mail_url, headers={"Authorization": f"Bearer {own.text}"}) as http:
                assert (await http.get("/v1/mails", timeout=60)).is_success
            connected: dict[str, Any] = {
                "signup_runtime_database_url": clones["signup"].runtime_url,
                "redis_url": valkey_url,
                "signup_token_keys": TOKEN_KEYS,
                "signup_effects": "stats",
                "signup_limit_per_ip": "off",
                "signup_mail_cooldown_seconds": 0,
                "reconcile_lag_seconds": 0,
                "mail_url": mail_url,
                "mail_api_key": own.text,
            }
            signup_settings = Settings(**connected | settings)
            app = create_app(signup_settings)
            url = await stack.enter_async_context(served(app))
            return Desk(app, url, mail_url, clones["signup"], clones["mail"], signup_settings)

        yield start


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def desk(open_desk: Open) -> Desk:
    return await open_desk()


@pytest_asyncio.fixture(loop_scope="module")
async def stranger(desk: Desk) -> AsyncIterator[Operated]:
    """A browser that has not signed in."""
    async with browsing(desk.url) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="module")
async def operator(desk: Desk, stranger: Operated) -> Operator:
    client = f"operator-{uuid4().hex[:8]}"
    key = await desk.key(client)
    assert (await stranger.sign_in(key.text)).url.path == "/console"
    return Operator(stranger.http, client, key.text, desk)
