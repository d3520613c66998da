"""A product with something on every page of the console: people, mails in every state, and what needs an operator."""

import asyncio
import math
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import httpx
import orjson

from services.signup.console.one_time_links import OneTimeLinks
from services.signup.verification_token import TokenRing
from shared.contract.ids import lowest_uuid7
from tests.support.imports import people
from tests.support.running import open_clients, started
from tests.support.stack import Ledgers, Stack, eventually

SETTINGS = {
    # An uncertain mail that may be sent again is, within a second.
    "MAIL_RETRY_BASE_SECONDS": "1",
    "MAIL_WEBHOOK_KEYS": "w" * 32,
    "MAIL_WEBHOOK_ALLOW_PRIVATE": "true",
    "ALERT_SECONDS": "2",
}
NASTY = "<img src=x onerror=alert(1)> & <b>Bo</b>"
LONG = "a-very-long-word-that-has-no-end-" * 6


@dataclass
class World:
    """The running product. `ids` are what the pages are about."""

    stack: Stack
    ids: dict[str, str]

    @property
    def url(self) -> str:
        return self.stack.signup_url

    def link(self) -> str:
        """As `make run` prints it."""
        ring = TokenRing.from_setting(self.stack._environment["SIGNUP_TOKEN_KEYS"])
        return self.url + OneTimeLinks(ring).make(self.stack.operator_key)


@contextmanager
def running_world(directory: Path) -> Iterator[World]:
    """The product, ready and empty."""
    with started(Stack(directory, settings=dict(SETTINGS))) as stack:
        asyncio.run(stack.bring_back())
        yield World(stack, {})


@asynccontextmanager
async def clients(world: World) -> AsyncIterator[Ledgers]:
    async with open_clients(world.stack) as ledgers:
        yield ledgers


async def fill(world: World) -> None:
    """Everything that the pages can show."""
    async with clients(world) as ledgers:
        for number, name in enumerate(("Ada Lovelace", "Grace Hopper", NASTY, LONG[:90])):
            await ledgers.sign_up(f"person-{number}@example.org", name)
        for name in ("refused", "deferred+99", "slow+1"):
            await ledgers.sign_up(f"{name}@simulator.example", name.title())
        for number in (1, 2, 3):
            await _hold(ledgers, f"held-{number}", f"uncertain+{number}-x@simulator.example", f"Invoice {number}")
        await _hold(ledgers, "nasty", "nasty@example.org", NASTY)
        await _hold(ledgers, "later", "later@example.org", "Later", send_at="2099-01-01T00:00:00Z")
        await ledgers.mail.put("/v1/suppressions/no@example.org", json={"reason": f"Asked on the phone {NASTY}"})
        rows = [*people(20), {"external_id": "bad", "email": "<b>", "name": "B"}]
        answer = await ledgers.signup.post(
            "/v1/imports", params={"source": "crm", "mails_per_minute": 1},
            content=b"".join(orjson.dumps(row) + b"\n" for row in rows),
            headers={"Content-Type": "application/x-ndjson"},
        )  # fmt: skip
        world.ids["import"] = answer.json()["id"]
        hook = {"url": "http://127.0.0.1:9/hook", "events": ["user.signed_up", "user.verified"]}
        world.ids["hook"] = (await ledgers.signup.post("/v1/webhooks", json=hook)).json()["id"]
        hook = {"url": "http://127.0.0.1:9/hook", "events": ["mail.sent", "mail.failed"]}
        world.ids["mail hook"] = (await ledgers.mail.post("/v1/webhooks", json=hook)).json()["id"]
        await ledgers.sign_up("hooked@example.org", "Hooked")
        await ledgers.execute(
            "signup",
            "INSERT INTO outbox (effect, payload, state, due_at, attempts, last_error, dead_at, expires_at)"
            " SELECT 'mail', '{}', 'dead', NULL, 3, $1, now(), now() FROM generate_series(1, 3)",
            f"The mail service refused it: 422 /to/email {NASTY}",
        )
        await _settle(world, ledgers)
        await _let_a_day_have_passed(ledgers)
    # What the overview reads is kept for a minute.
    for name in ("signup-api", "mail-api"):
        world.stack.terminate(name)
    await world.stack.bring_back()


async def _hold(ledgers: Ledgers, request_id: str, to: str, subject: str, **more: str) -> None:
    mail = {"request_id": request_id, "to": {"email": to}, "subject": subject, "text": "Hello", "tags": ["invoice"]}
    answer = await ledgers.mail.post("/v1/mails", json={**mail, **more})
    assert answer.status_code == httpx.codes.ACCEPTED, answer.text


async def _settle(world: World, ledgers: Ledgers) -> None:
    """Wait until mails have their states, and compare both ledgers."""
    await eventually(lambda: ledgers.mails(state="uncertain"), lambda found: len(found) == 3, what="uncertain mails")
    await eventually(lambda: ledgers.mails(state="failed"), lambda found: len(found) >= 1, what="a failed mail")
    run = (await ledgers.signup.post("/audit/reconciliation/run", json={})).json()["id"]
    await eventually(
        lambda: ledgers.signup.get(f"/audit/reconciliation/{run}"),
        lambda answer: answer.json()["state"] == "done",
        what="the reconciliation",
    )
    await ledgers.signup.post("/audit/checks/run")
    await ledgers.mail.post("/audit/checks/run")
    world.ids |= {
        "run": run,
        "person": (await ledgers.user("refused@simulator.example"))["id"],
        "nasty person": (await ledgers.user("person-2@example.org"))["id"],
        "mail": (await ledgers.mails(request_id="held-1"))[0]["id"],
        "nasty mail": (await ledgers.mails(request_id="nasty"))[0]["id"],
        "row": str(await ledgers.fetchval("signup", "SELECT id FROM outbox WHERE state = 'dead' LIMIT 1")),
    }


async def _let_a_day_have_passed(ledgers: Ledgers) -> None:
    """History of a day before now, for the lines of the overview: more in the afternoon, and some not verified."""
    now, draw = datetime.now(UTC), random.Random(1)
    month_begins = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    past = [now - timedelta(minutes=minute, seconds=minute % 60) for minute in range(3, 24 * 60)]
    times = [at for at in past if at > month_begins and draw.random() < 0.5 + 0.4 * math.sin(at.hour / 4)]
    for service, kinds in {
        "signup": ("user.signed_up", "outbox.delivered", "user.verified"),
        "mail": ("mail.accepted", "mail.sent"),
    }.items():
        rows = [
            (UUID(int=lowest_uuid7(at).int + place), at, kind)
            for at in times
            for place, kind in enumerate(kinds)
            if kind != "user.verified" or draw.random() < 0.7
        ]
        await ledgers.execute(
            service,
            "INSERT INTO history (id, at, kind, subject, actor, detail)"
            " SELECT id, at, kind, 'past', 'past', '{}'"
            " FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS row (id, at, kind)",
            *(list(column) for column in zip(*rows, strict=True)),
        )


def pages(world: World) -> dict[str, str]:
    """Every page by the name of its picture."""
    ids = world.ids
    return {
        "overview": "/console",
        "people": "/console/people",
        "person": f"/console/people/{ids['person']}",
        "nasty-person": f"/console/people/{ids['nasty person']}",
        "found": "/console/people?q=Ada",
        "mails": "/console/mails",
        "mail": f"/console/mails/{ids['mail']}",
        "nasty-mail": f"/console/mails/{ids['nasty mail']}?content=yes",
        "uncertain": "/console/uncertain",
        "suppressions": "/console/suppressions",
        "outbox": "/console/outbox",
        "row": f"/console/outbox/{ids['row']}",
        "imports": "/console/imports",
        "import": f"/console/imports/{ids['import']}",
        "reconciliation": "/console/reconciliation",
        "run": f"/console/reconciliation/{ids['run']}",
        "findings": "/console/reconciliation/findings",
        "checks": "/console/checks",
        "runbook": "/console/runbook/uncertain_mails",
        "gateways": "/console/gateways",
        "webhooks": "/console/webhooks",
        "webhook": f"/console/webhooks/signup/{ids['hook']}",
        "mail-webhook": f"/console/webhooks/mail/{ids['mail hook']}",
        "history": "/console/history",
        "not-found": "/console/nothing",
    }


ROOMS = (
    "/console", "/console/people", "/console/mails", "/console/uncertain", "/console/suppressions", "/console/outbox",
    "/console/imports", "/console/reconciliation", "/console/reconciliation/findings", "/console/checks",
    "/console/gateways", "/console/webhooks", "/console/history",
)  # fmt: skip
