"""A product with many faults, so that every command of the runbook has something to act on.

Both workers are dead, so the test sees a command's result before a worker goes on with it.
"""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from local import postgres, runenv
from shared.contract.ids import uuid7
from tests.runbook.page import preamble
from tests.support.databases import PASSWORDS, ROOT
from tests.support.imports import NDJSON, ndjson
from tests.support.reconciliation_lab import INSERT_UNREQUESTED_MAILS
from tests.support.running import open_clients
from tests.support.scripted_smtp import Misbehavior, Script, scripted_smtp
from tests.support.stack import Ledgers, Stack, eventually

ASA = "asa@example.com"  # the address in docs/operating.md
_DEAD = """
UPDATE outbox SET state = 'dead', due_at = NULL, lease = NULL, dead_at = now(), expires_at = now(),
    last_error = '503: the part of last_error that operating.md names'
WHERE id = $1
"""
_DEAD_WEBHOOK = """
INSERT INTO outbox (effect, payload, state, due_at, dead_at, last_error, expires_at)
VALUES ('webhook', '{}', 'dead', NULL, now(), 'the subscriber answered 410', now()) RETURNING id::text
"""
_DEAD_DELIVERY = """
WITH s AS (
    INSERT INTO webhook_subscribers (client, url, events, key_id, disabled_at, disabled_reason)
    VALUES ('shop', 'https://hooks.example/' || gen_random_uuid(), ARRAY['mail.sent'], 'k', now(), 'for the runbook')
    RETURNING id, url
), d AS (
    INSERT INTO webhook_deliveries_settled
        (subscriber_id, event, id, mail_id, outcome, attempts, last_error, occurred_at)
    SELECT id, 'mail.sent', uuidv7(), uuidv7(), 'dead', 9, 'The subscriber answered 503', now() FROM s
)
SELECT url FROM s
"""
_ERASED_BY_HAND = """
UPDATE users SET status = 'erased', email = NULL, email_key = NULL, name = NULL, erased_at = now() WHERE id = $1
"""
_NOW = """SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"""
_SUPPRESSED = """
INSERT INTO suppressions (email_key, email, reason, source, created_at)
VALUES ($1, $1, 'refused with 550 at RCPT', 'smtp', clock_timestamp())
"""
_FAILED = """
WITH gone AS (DELETE FROM queue WHERE mail_id = $1), tried AS (
    INSERT INTO attempts (mail_id, n, lease, phase, outcome, counted, ended_at)
    VALUES ($1, 1, gen_random_uuid(), 'ended', 'refused', true, clock_timestamp())
)
UPDATE mails SET state = 'failed', next_attempt_at = NULL, failure_reason = 'refused with 550 at RCPT' WHERE id = $1
"""
_KNOWN_AS_SENT = """
INSERT INTO mail_outcomes (request_id, mail_id, state, message_id, fingerprint, sent_at, changed_at)
VALUES ($1, uuidv7(), 'sent', '<x@x.example>', repeat('a', 64), now(), now())
"""
# One act per mail: a refusal, a "try later", then lost connections.
_UNCERTAIN = 6
_GATEWAY: Script = {
    "RCPT": ["550 5.1.1 No such person here", "450 4.2.1 Mailbox busy, come back", *[None] * _UNCERTAIN],
    "dot": [Misbehavior.DROP] * _UNCERTAIN,
}


@dataclass(frozen=True)
class CommandResult:
    """A command's output and exit status."""

    status: int
    output: str
    errors: str


@dataclass
class Situation:
    """`ledgers` belong to the current test; the arranged faults stay from test to test."""

    ledgers: Ledgers
    checkout: Path
    mails: dict[str, list[str]] = field(default_factory=lambda: {"failed": [], "deferred": [], "uncertain": []})
    # Kept open until a command ends them.
    sessions: list["asyncpg.Connection[asyncpg.Record]"] = field(default_factory=list)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def run(self, command: str, *, stdin: str = "") -> CommandResult:
        """Run in bash in the checkout, after the page's preamble."""
        done = subprocess.run(
            ["bash", "-c", f"{preamble()}\n{command}"],
            cwd=self.checkout,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )
        return CommandResult(done.returncode, done.stdout, done.stderr)

    async def user(self) -> str:
        """A user who has just signed up; the mail is still owed."""
        email = f"person-{next(self._numbers)}@example.com"
        assert (await self.ledgers.sign_up(email)).status_code == 202
        return str((await self.ledgers.user(email))["id"])

    async def waiting_row(self) -> str:
        (row,) = (
            await self.ledgers.signup.get("/audit/outbox", params={"user_id": await self.user(), "effect": "mail"})
        ).json()["items"]
        return str(row["id"])

    async def dead_row(self) -> str:
        row_id = await self.waiting_row()
        await self.ledgers.execute("signup", _DEAD, row_id)
        return row_id

    async def row_dead_for_two_days(self) -> str:
        row_id = await self.dead_row()
        await self.ledgers.execute(
            "signup", "UPDATE outbox SET dead_at = now() - interval '2 days' WHERE id = $1", row_id
        )
        return row_id

    async def dead_webhook(self) -> str:
        return str(await self.ledgers.fetchval("signup", _DEAD_WEBHOOK))

    async def dead_delivery(self) -> str:
        """The URL of a subscriber of the mail service for which a delivery was given up."""
        return str(await self.ledgers.fetchval("mail", _DEAD_DELIVERY))

    async def open_incident(self) -> str:
        """An open `outbox_dead` incident, from a new dead row."""
        await self.dead_row()
        path = "/audit/alerts"

        async def names() -> list[str]:
            return [
                alert["name"]
                for alert in (await self.ledgers.signup.get(path)).json()["items"]
                if not alert["closed_at"]
            ]

        await eventually(names, lambda found: "outbox_dead" in found, what="an open incident")
        return "outbox_dead"

    async def delivered_row(self) -> str:
        """The settled row of Åsa's sent mail."""
        query = "SELECT id::text FROM outbox_settled WHERE effect = 'mail' AND user_id = $1 AND outcome = 'delivered'"
        return str(await self.ledgers.fetchval("signup", query, (await self.ledgers.user(ASA))["id"]))

    async def asa(self) -> str:
        return str((await self.ledgers.user(ASA))["id"])

    async def remembered_user(self) -> str:
        """A user erased by hand, whose address is still in a canceled row."""
        row_id = await self.waiting_row()
        user_id = str(await self.ledgers.fetchval("signup", "SELECT user_id FROM outbox WHERE id = $1", row_id))
        await self.ledgers.execute("signup", _ERASED_BY_HAND, user_id)
        await self.ledgers.signup.post(f"/audit/outbox/{row_id}/cancel")
        return user_id

    async def user_with_a_mail(self) -> str:
        """A user for whom the mail service has a mail."""
        user_id = await self.user()
        to = {"email": f"{user_id}@example.com"}
        mail = {"request_id": f"of-{user_id}", "to": to, "subject": "S", "text": "T", "metadata": {"user_id": user_id}}
        assert (await self.ledgers.mail.post("/v1/mails", json=mail)).status_code == 202
        return user_id

    async def user_erased_in_the_mail_service(self) -> str:
        user_id = await self.user_with_a_mail()
        await self.ledgers.mail.post("/v1/erasures", json={"metadata": {"user_id": user_id}})
        return user_id

    async def erased_user(self) -> str:
        user_id = await self.user()
        assert (await self.ledgers.signup.delete(f"/v1/users/{user_id}")).status_code == 204
        return user_id

    async def open_transaction(self) -> str:
        """The process ID of a transaction of signup's owner role that holds back the mail service's change feed."""
        session = await asyncpg.connect(self.ledgers.stack.owner_url("signup"))
        self.sessions.append(session)
        await session.execute("BEGIN; SELECT pg_current_xact_id()")
        assert await self.ledgers.fetchval("mail", "SELECT pid FROM feed_holder()") == session.get_server_pid()
        return str(session.get_server_pid())

    async def empty_database(self) -> str:
        """An empty database that belongs to the mail service's owner role."""
        server = self.ledgers.stack.server_url("postgres")
        connection = await asyncpg.connect(server)
        try:
            await connection.execute("CREATE DATABASE mail_restored OWNER mail_owner")
        finally:
            await connection.close()
        return postgres.database_url(server, "mail_restored", "mail_owner", PASSWORDS["mail_owner"])

    async def queued_mail(self) -> str:
        request_id = f"queued-{next(self._numbers)}"
        mail = {"request_id": request_id, "to": {"email": f"{request_id}@example.com"}, "subject": "S", "text": "T"}
        return str((await self.ledgers.mail.post("/v1/mails", json=mail)).json()["id"])

    async def failed_mail(self) -> str:
        return self.mails["failed"][0]

    async def suppressed_since(self) -> str:
        """A time, after which a refusal suppressed one address."""
        since: str = await self.ledgers.fetchval("mail", _NOW)
        await self.ledgers.execute("mail", _SUPPRESSED, f"suppressed-{next(self._numbers)}@example.com")
        return since

    async def suppressed_asa(self) -> str:
        await self.ledgers.execute("mail", _SUPPRESSED, ASA)
        return ASA

    async def failed_since(self) -> str:
        """A time, after which one mail failed."""
        mail_id = await self.queued_mail()
        since: str = await self.ledgers.fetchval("mail", _NOW)
        await self.ledgers.execute("mail", _FAILED, mail_id)
        return since

    async def uncertain_mail(self) -> str:
        """An uncertain mail that no test has resolved yet."""
        return self.mails["uncertain"].pop()

    async def running_import(self) -> str:
        """An import that no worker processes; its one person is listed in the file `mailed`."""
        person = f"person-{next(self._numbers)}@example.com"
        rows = [{"external_id": person, "email": person, "name": "Bo"}]
        headers = {"Content-Type": NDJSON, "Idempotency-Key": person}
        answer = await self.ledgers.signup.post("/v1/imports", content=ndjson(rows), headers=headers)
        (self.checkout / "mailed").write_text(f"{person}\n", encoding="utf-8")
        return str(answer.json()["id"])

    async def paused_import(self) -> str:
        import_id = await self.running_import()
        assert (await self.ledgers.signup.post(f"/v1/imports/{import_id}/pause")).status_code == 200
        return import_id

    async def sent_and_unknown_to_signup(self) -> str:
        """A sent mail of signup that the feed follower has not read."""
        request_id = str(uuid7())
        await self.ledgers.execute("mail", INSERT_UNREQUESTED_MAILS, [request_id])
        return request_id

    async def sent_and_known_to_signup(self) -> str:
        request_id = await self.sent_and_unknown_to_signup()
        await self.ledgers.execute("signup", _KNOWN_AS_SENT, request_id)
        return request_id

    async def reconciliation_run(self) -> str:
        return str((await self.ledgers.signup.post("/audit/reconciliation/run", json={})).json()["id"])


async def _cause_faults(situation: Situation) -> None:
    ledgers = situation.ledgers
    await ledgers.sign_up(ASA)
    await eventually(lambda: ledgers.caught(ASA), bool, what="the mail to her")
    settled = "SELECT count(*) FROM outbox_settled WHERE effect = 'mail'"
    await eventually(
        lambda: ledgers.fetchval("signup", settled), lambda count: count == 1, what="her row to be settled"
    )
    ledgers.stack.kill("signup-worker")
    ledgers.stack.kill("mail-worker")
    async with scripted_smtp(_GATEWAY) as gateway:
        ledgers.stack.start("mail-worker", MAIL_GATEWAYS=f"smtp://127.0.0.1:{gateway.port}?name=scripted&connections=1")
        for state in ("failed", "deferred", *["uncertain"] * _UNCERTAIN):
            mail_id = await situation.queued_mail()
            path = f"/v1/mails/{mail_id}"
            await eventually(
                lambda path=path: ledgers.mail.get(path),  # type: ignore[misc]
                lambda answer, state=state: answer.json()["state"] == state,  # type: ignore[misc]
                what=f"a mail that is {state}",
            )
            situation.mails[state].append(mail_id)
        ledgers.stack.kill("mail-worker")


def _make_checkout(stack: Stack, folder: Path) -> None:
    """Create what a shell finds under `make run`: code, virtual environment, logs and var/run.env."""
    for name in ("services", "shared", "docs"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / "var").mkdir()
    (folder / "var" / "log").symlink_to(stack.directory)
    variables: Mapping[str, str] = {
        "SIGNUP_URL": stack.signup_url,
        "MAIL_URL": stack.mail_url,
        "CATCHER_URL": stack.catcher_url,
        "OPERATOR_KEY": stack.operator_key,
        "SIGNUP_DATABASE_URL": stack.owner_url("signup"),
        "MAIL_DATABASE_URL": stack.owner_url("mail"),
    }
    runenv.write(folder / "var" / "run.env", variables)


def arrange(stack: Stack, folder: Path) -> Situation:
    """Start the stack and cause the faults, once."""
    _make_checkout(stack, folder)

    async def go() -> Situation:
        await stack.bring_back()
        async with open_clients(stack) as ledgers:
            situation = Situation(ledgers, folder)
            await _cause_faults(situation)
        return situation

    return asyncio.run(go())
