"""P6, the drill: mails deleted, planted and changed, and either database restored to an earlier time from a base
backup and its archived WAL. What is wrong is named exactly, what is safe is mended, and nobody gets a second copy of
a mail that either ledger knows to be sent.

`DRILL_MAILS=6000` is the drill at its full size (500 deleted, 20 planted, 10 changed); this is the same, smaller.
"""

import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.backups import Backups
from tests.support.disasters import KINDS, Drill, people
from tests.support.running import open_ledgers
from tests.support.stack import Stack, eventually

MAILS = int(os.environ.get("DRILL_MAILS", "600"))
DELETED, PLANTED, CHANGED = MAILS // 12, 20, 10
# Of each kind of mail that stands differently in the backup than now.
FEW = 12
CLUSTERS = {"signup": "postgres", "mail": "postgres-mail"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("drill"), clusters=CLUSTERS)
    try:
        stack.start_all()
        yield stack
    finally:
        stack.stop_all()


@pytest.fixture
async def drill(stack: Stack) -> AsyncIterator[Drill]:
    async with open_ledgers(stack) as ledgers:
        yield Drill(ledgers)


@dataclass(frozen=True)
class Past:
    """What happened before the disaster, in request IDs."""

    moment: str  # what came later is not in the backup
    known: set[str]  # to signup as it was then
    owed: set[str]  # of those: not yet handed over then
    young: set[str]  # sent since, for what signup does not know any more
    acquired: set[str]  # of those: by an import that was running then
    imports: dict[str, int]  # that were running then: how many each has mailed since
    erased: str  # a person erased since
    erased_mail: str
    letters: Counter[str]  # to each person

    @property
    def sent(self) -> set[str]:
        return self.known | self.young


async def _live(drill: Drill, backups: Backups) -> Past:
    ledgers, stack = drill.ledgers, drill.ledgers.stack
    settled = people("settled", MAILS)
    await drill.sign_up(settled[: MAILS // 2])
    backups.take()
    await drill.sign_up(settled[MAILS // 2 :])
    known = await drill.all_sent(settled) | {await drill.welcomed(settled[0])}
    # Handed over and not sent, then not even handed over.
    stack.kill("mail-worker")
    await drill.sign_up(on_their_way := people("on-their-way", FEW))
    await drill.handed_over()
    stack.kill("mail-api")
    await drill.sign_up(waiting := people("owed", FEW))
    # Of two imports that are running then one goes on, and the other is paused before it has brought anybody in.
    stack.kill("signup-worker")
    running = await drill.bring_in(acquired := people("acquired", FEW))
    held = await drill.bring_in(people("held", FEW))
    moment = await drill.now()

    assert (await ledgers.signup.post(f"/v1/imports/{held}/pause")).status_code == 200
    await stack.bring_back()
    acquired_mails = await drill.all_sent(acquired)
    await drill.sign_up(late := people("late", FEW))
    await drill.bring_in(imported := people("imported", FEW))
    owed = await drill.all_sent(waiting)
    known |= owed | await drill.all_sent(on_their_way)
    young = await drill.all_sent([*late, *imported]) | {await drill.welcomed(settled[1])} | acquired_mails
    erased = await ledgers.user(settled[2])
    (erased_mail,) = await drill.requests([settled[2]])
    assert (await ledgers.signup.delete(f"/v1/users/{erased['id']}")).status_code == 204
    await eventually(lambda: drill.requests([settled[2]]), lambda left: not left, what="the erasure there")
    letters = Counter([*settled, *on_their_way, *waiting, *late, *imported, *acquired, settled[0], settled[1]])
    imports = {running: FEW, held: 0}
    return Past(moment, known, owed, young, acquired_mails, imports, erased["id"], erased_mail, letters)


@dataclass(frozen=True)
class Damage:
    deleted: set[str]
    changed: set[str]
    planted: set[str]


async def _strike(drill: Drill, past: Past) -> Damage:
    chance = random.Random(7)
    # To whom a mail went that signup does not know any more is known from the mail ledger alone, so those are left alone.
    within_reach = past.sent - past.acquired
    deleted = {past.erased_mail}
    for kind in (past.owed, past.young - past.acquired, past.known - past.owed):
        deleted |= {*chance.sample(sorted(kind), FEW // 2)}
    deleted |= {*chance.sample(sorted(within_reach - deleted), DELETED - len(deleted))}
    changed = {*chance.sample(sorted(within_reach - deleted), CHANGED)}
    planted = {f"planted-{n}" for n in range(PLANTED)}
    await drill.lose(deleted)
    await drill.plant(planted)
    await drill.change(changed)
    return Damage(deleted, changed, planted)


async def _start_signup_as_the_runbook_says(drill: Drill, past: Past) -> None:
    """docs/restoring.md: imports are held; the API, then again whoever was erased since, then the worker."""
    ledgers = drill.ledgers
    paused = drill.command("imports", "pause")
    assert {held["id"]: held["state"] for held in paused} == dict.fromkeys(past.imports, "paused")
    ledgers.stack.start("signup-api")
    await eventually(lambda: ledgers.anonymous.get("/health/ready"), lambda it: it.status_code == 200, what="signup")
    told = await ledgers.mail.get("/audit/history", params={"kind": "mail.erased", "after": past.moment})
    erased = {user_id for entry in told.json()["items"] for user_id in entry["related"][2:]}
    assert erased == {past.erased}
    for user_id in erased:
        assert (await ledgers.signup.delete(f"/v1/users/{user_id}")).status_code == 204
    await ledgers.stack.bring_back()
    await drill.handed_over()


async def _let_the_imports_go_on(drill: Drill, past: Past) -> set[str]:
    """Without whom they have mailed since; the request IDs of whom they mail now."""
    mails = await drill.ledgers.mails(client="signup", accepted_after=past.moment)
    mailed = "".join(f"{mail['to']['email']}\n" for mail in mails if mail["to"]["email"])
    for held in drill.command("imports", "list"):
        (skipped,) = drill.command("imports", "skip", held["id"], stdin=mailed)
        assert skipped["skipped"] == past.imports[held["id"]]
        drill.command("imports", "resume", held["id"])
    return await drill.all_sent(people("held", FEW))


async def test_mails_deleted_planted_and_changed_and_the_signup_database_back_in_time(drill: Drill) -> None:
    ledgers, stack = drill.ledgers, drill.ledgers.stack
    backups = Backups(stack, CLUSTERS["signup"])
    await backups.begin()
    await stack.bring_back()
    since = await drill.now()
    past = await _live(drill, backups)
    asked_under = await drill.message_ids()
    damage = await _strike(drill, past)
    stack.kill("signup-api")
    stack.kill("signup-worker")
    backups.go_back(past.moment)
    await _start_signup_as_the_runbook_says(drill, past)
    assert (await ledgers.signup.get("/v1/users", params={"email": "late-0@x.example"})).json()["items"] == []

    first = await drill.reconcile(since)
    assert (first["verdict"], first["named"]) == (
        "out_of_balance",
        {
            "missing": set(),
            # What was owed in the backup is back already: the relay asked for it again, and was told that it was sent.
            "lost_records": damage.deleted & (past.known - past.owed),
            "unexpected": damage.planted | (past.young - damage.deleted),
            "different": damage.changed & past.known,
            "stuck": set(),
            "unserved_users": set(),
        },
    )
    assert first["healed"]["lost_records"] == first["lost_records"] - 1, "all but the one whose person was erased"
    second = await drill.reconcile(since)
    assert (second["verdict"], second["known"]) == ("balanced", first["unexpected"] + first["different"] + 1)
    await ledgers.mail.post("/audit/checks/run")
    checks = {check["name"]: check for check in (await ledgers.mail.get("/audit/checks")).json()["items"]}
    assert checks["lost_mails"]["violations"] == len(damage.deleted & past.young) + 1, (
        "what neither ledger has any more"
    )

    now_mailed = await _let_the_imports_go_on(drill, past)
    copies, letters = await drill.copies(asked_under | await drill.message_ids(), (*past.letters, *people("held", FEW)))
    assert (set(copies), set(copies.values())) == (past.sent | now_mailed, {1}), "nobody has a second copy"
    assert letters == past.letters + Counter(people("held", FEW))
    # Whoever verified since can do so again; whoever signed up since is a stranger, and can sign up.
    assert [await drill.verify(f"settled-{n}@x.example") for n in (0, 1)] == ["already_verified", "verified"]
    await drill.sign_up(["late-0@x.example"])
    await eventually(lambda: ledgers.caught("late-0@x.example"), lambda found: len(found) == 2, what="their mail")


@dataclass(frozen=True)
class MailPast:
    """What happened before the mail database went back, in request IDs."""

    moment: str
    sent_again: set[str]  # waited then, and were sent since: by signup's own ledger
    lost: set[str]  # unknown then, and sent since
    missing: set[str]  # unknown then, and not sent since
    erased: str  # a person erased since
    others: dict[str, Any]  # a mail of another client, as it knows it
    letters: Counter[str]


async def _live_with_mail_backup(drill: Drill, backups: Backups) -> MailPast:
    ledgers, stack = drill.ledgers, drill.ledgers.stack
    await drill.sign_up(before := people("before", MAILS // 6))
    await drill.all_sent(before)
    backups.take()
    stack.kill("mail-worker")
    await drill.sign_up(waiting := people("waiting", MAILS // 6))
    await drill.handed_over()
    other = {"request_id": "other", "to": {"email": "other@x.example"}, "subject": "S", "text": "T"}
    assert (await ledgers.mail.post("/v1/mails", json=other)).status_code == 202
    moment = await drill.now()

    stack.start("mail-worker")
    sent_again = await drill.all_sent(waiting)
    await drill.sign_up(after := people("after", MAILS // 6))
    lost = await drill.all_sent(after)
    erased = (await ledgers.user(waiting[1]))["id"]
    assert (await ledgers.signup.delete(f"/v1/users/{erased}")).status_code == 204
    await eventually(lambda: drill.requests([waiting[1]]), lambda left: not left, what="the erasure there")
    (others,) = await ledgers.mails(request_id="other")
    assert others["state"] == "sent"
    stack.kill("mail-worker")
    await drill.sign_up(unsent := people("unsent", FEW))
    await drill.handed_over()
    letters = Counter([*before, *waiting, *after, *unsent, "other@x.example"])
    return MailPast(moment, sent_again, lost, await drill.requests(unsent), erased, others, letters)


async def _start_mail_api_as_the_runbook_says(drill: Drill, past: MailPast) -> None:
    """docs/restoring.md: without its worker; again whoever was erased since; other clients say what they know."""
    ledgers = drill.ledgers
    ledgers.stack.start("mail-api")
    await eventually(lambda: ledgers.mail.get("/health/ready"), lambda answer: answer.status_code == 200, what="mail")
    told = await ledgers.signup.get("/audit/history", params={"kind": "user.erased", "after": past.moment})
    assert [entry["subject"] for entry in told.json()["items"]] == [past.erased]
    erased = await ledgers.mail.post("/v1/erasures", json={"metadata": {"user_id": past.erased}})
    assert erased.json() == {"erased": 1}
    known = {name: past.others[name] for name in ("request_id", "fingerprint", "to", "sent_at", "message_id")}
    restored = await ledgers.mail.post("/v1/mails/restore", json={"mails": [known | {"even_if_known": True}]})
    assert restored.json() == {"restored": ["other"], "known": []}


async def test_the_mail_database_back_in_time(drill: Drill) -> None:
    ledgers, stack = drill.ledgers, drill.ledgers.stack
    backups = Backups(stack, CLUSTERS["mail"])
    await backups.begin()
    await stack.bring_back()
    since = await drill.now()
    past = await _live_with_mail_backup(drill, backups)
    asked_under = await drill.message_ids()
    stack.kill("mail-api")
    backups.go_back(past.moment)
    await _start_mail_api_as_the_runbook_says(drill, past)

    first = await drill.reconcile(since)
    # The follower has lost its place, and asked for a run by itself: what that one has mended, this one does not find.
    own = "SELECT array_agg(id) FROM reconciliation_runs WHERE actor = 'signup-worker'"
    runs = [first["named"], *[await drill.named(str(run)) for run in await ledgers.fetchval("signup", own)]]
    assert {kind: set[str]().union(*(named[kind] for named in runs)) for kind in KINDS} == {
        "missing": past.missing,
        "lost_records": past.lost,
        "unexpected": set(),
        "different": past.sent_again,
        "stuck": set(),
        "unserved_users": set(),
    }
    findings = "/audit/reconciliation/findings?kind=different&healed=false"
    left = [
        item for item in (await ledgers.signup.get(findings)).json()["items"] if item["reason"] == "differs in state"
    ]
    assert [item["user_id"] for item in left] == [past.erased], "all else is mended"
    await drill.handed_over()
    assert (await drill.reconcile(since))["verdict"] == "balanced"
    waits = await ledgers.fetchval("mail", "SELECT array_agg(request_id) FROM mails JOIN queue ON mail_id = id")
    assert set(waits) == past.missing, "the worker will send what was not sent, and nothing else"

    stack.start("mail-worker")
    await drill.all_sent(people("unsent", FEW))
    assert (await drill.reconcile(since))["verdict"] == "balanced"
    copies, letters = await drill.copies(asked_under | await drill.message_ids(), tuple(past.letters))
    assert set(copies.values()) == {1}, "nobody has a second copy"
    assert letters == past.letters
