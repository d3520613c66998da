"""P6: mails are deleted, planted and changed, and either database is restored to an earlier time from a base backup
and archived WAL. Reconciliation finds exactly what is wrong, repairs what is safe, and no user gets a second copy of a
mail that either ledger knows as sent.

`DRILL_MAILS=6000` is the full size (500 deleted, 20 planted, 10 changed); the default is smaller.
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
from tests.support.running import open_ledgers, started
from tests.support.stack import Stack, eventually

MAILS = int(os.environ.get("DRILL_MAILS", "240"))
DELETED, PLANTED, CHANGED = MAILS // 12, 20, 10
# Mails of each kind whose state in the backup differs from now.
FEW = 12
CLUSTERS = {"signup": "postgres", "mail": "postgres-mail"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with started(Stack(tmp_path_factory.mktemp("drill"), clusters=CLUSTERS)) as stack:
        yield stack


@pytest.fixture
async def drill(stack: Stack) -> AsyncIterator[Drill]:
    async with open_ledgers(stack) as ledgers:
        yield Drill(ledgers)


@dataclass(frozen=True)
class Past:
    """The request IDs of mails before the disaster, by what signup knew at the restore point."""

    restored_to: str  # the backup has nothing later
    known: set[str]  # in signup's ledger at that time
    owed: set[str]  # of `known`: not yet relayed at that time
    later: set[str]  # owed and sent after that time
    imported: set[str]  # of `later`: by an import that was running at that time
    imports: dict[str, int]  # running at that time: how many people each mailed later
    erased: str  # a user erased later
    erased_mail: str
    mails_per_person: Counter[str]

    @property
    def sent(self) -> set[str]:
        return self.known | self.later


async def _live(drill: Drill, backups: Backups) -> Past:
    ledgers, stack = drill.ledgers, drill.ledgers.stack
    settled = people("settled", MAILS)
    await drill.sign_up(settled[: MAILS // 2])
    backups.take()
    await drill.sign_up(settled[MAILS // 2 :])
    known = await drill.all_sent(settled) | {await drill.await_welcome(settled[0])}
    # First relayed and not sent, then not even relayed.
    stack.kill("mail-worker")
    await drill.sign_up(on_their_way := people("on-their-way", FEW))
    await drill.relay_finished()
    stack.kill("mail-api")
    await drill.sign_up(waiting := people("owed", FEW))
    # Two imports are running at the restore point: one goes on, the other is paused before its first user.
    stack.kill("signup-worker")
    running = await drill.import_people(acquired := people("acquired", FEW))
    held = await drill.import_people(people("held", FEW))
    restored_to = await drill.now()

    assert (await ledgers.signup.post(f"/v1/imports/{held}/pause")).status_code == 200
    await stack.bring_back()
    acquired_mails = await drill.all_sent(acquired)
    await drill.sign_up(late := people("late", FEW))
    await drill.import_people(imported := people("imported", FEW))
    owed = await drill.all_sent(waiting)
    known |= owed | await drill.all_sent(on_their_way)
    later = await drill.all_sent([*late, *imported]) | {await drill.await_welcome(settled[1])} | acquired_mails
    erased = await ledgers.user(settled[2])
    (erased_mail,) = await drill.request_ids([settled[2]])
    assert (await ledgers.signup.delete(f"/v1/users/{erased['id']}")).status_code == 204
    await eventually(lambda: drill.request_ids([settled[2]]), lambda left: not left, what="the erasure there")
    mails_per_person = Counter([*settled, *on_their_way, *waiting, *late, *imported, *acquired, settled[0], settled[1]])
    imports = {running: FEW, held: 0}
    return Past(restored_to, known, owed, later, acquired_mails, imports, erased["id"], erased_mail, mails_per_person)


@dataclass(frozen=True)
class Damage:
    deleted: set[str]
    changed: set[str]
    planted: set[str]


async def _damage(drill: Drill, past: Past) -> Damage:
    draw = random.Random(7)
    # Only the mail ledger knows the recipients of `imported`, and `imports skip` needs them: leave those mails alone.
    candidates = past.sent - past.imported
    deleted = {past.erased_mail}
    for kind in (past.owed, past.later - past.imported, past.known - past.owed):
        deleted |= {*draw.sample(sorted(kind), FEW // 2)}
    deleted |= {*draw.sample(sorted(candidates - deleted), DELETED - len(deleted))}
    changed = {*draw.sample(sorted(candidates - deleted), CHANGED)}
    planted = {f"planted-{n}" for n in range(PLANTED)}
    await drill.delete_mails(deleted)
    await drill.plant(planted)
    await drill.change(changed)
    return Damage(deleted, changed, planted)


async def _start_signup_as_the_runbook_says(drill: Drill, past: Past) -> None:
    """docs/restoring.md: pause imports; start the API; erase again the users erased since; start the worker."""
    ledgers = drill.ledgers
    paused = drill.command("imports", "pause")
    assert {held["id"]: held["state"] for held in paused} == dict.fromkeys(past.imports, "paused")
    ledgers.stack.start("signup-api")
    await eventually(
        lambda: ledgers.anonymous.get("/health/ready"), lambda answer: answer.status_code == 200, what="signup"
    )
    history = await ledgers.mail.get("/audit/history", params={"kind": "mail.erased", "after": past.restored_to})
    erased = {user_id for entry in history.json()["items"] for user_id in entry["related"][2:]}
    assert erased == {past.erased}
    for user_id in erased:
        assert (await ledgers.signup.delete(f"/v1/users/{user_id}")).status_code == 204
    await ledgers.stack.bring_back()
    await drill.relay_finished()


async def _resume_imports(drill: Drill, past: Past) -> set[str]:
    """Skip the people who were mailed since; return the request IDs of the imports' new mails."""
    mails = await drill.ledgers.mails(client="signup", accepted_after=past.restored_to)
    mailed = "".join(f"{mail['to']['email']}\n" for mail in mails if mail["to"]["email"])
    for held in drill.command("imports", "list"):
        (skipped,) = drill.command("imports", "skip", held["id"], stdin=mailed)
        assert skipped["skipped"] == past.imports[held["id"]]
        drill.command("imports", "resume", held["id"])
    return await drill.all_sent(people("held", FEW))


async def test_mails_deleted_planted_and_changed_and_the_signup_database_restored(drill: Drill) -> None:
    ledgers, stack = drill.ledgers, drill.ledgers.stack
    backups = Backups(stack, CLUSTERS["signup"])
    await backups.begin()
    await stack.bring_back()
    since = await drill.now()
    past = await _live(drill, backups)
    by_message_id = await drill.message_ids()
    damage = await _damage(drill, past)
    stack.kill("signup-api")
    stack.kill("signup-worker")
    backups.restore_to(past.restored_to)
    await _start_signup_as_the_runbook_says(drill, past)
    assert (await ledgers.signup.get("/v1/users", params={"email": "late-0@x.example"})).json()["items"] == []

    first = await drill.reconcile(since)
    assert (first["verdict"], first["named"]) == (
        "out_of_balance",
        {
            "missing": set(),
            # Mails owed in the backup are back already: the relay requested them again, and the answer was `sent`.
            "lost_records": damage.deleted & (past.known - past.owed),
            "unexpected": damage.planted | (past.later - damage.deleted),
            "different": damage.changed & past.known,
            "stuck": set(),
            "unserved_users": set(),
        },
    )
    assert first["healed"]["lost_records"] == first["lost_records"] - 1, "all but the mail of the erased user"
    second = await drill.reconcile(since)
    assert (second["verdict"], second["known"]) == ("balanced", first["unexpected"] + first["different"] + 1)
    await ledgers.mail.post("/audit/checks/run")
    checks = {check["name"]: check for check in (await ledgers.mail.get("/audit/checks")).json()["items"]}
    assert checks["lost_mails"]["violations"] == len(damage.deleted & past.later) + 1, "in neither ledger any more"

    now_mailed = await _resume_imports(drill, past)
    copies, received = await drill.copies(
        by_message_id | await drill.message_ids(), (*past.mails_per_person, *people("held", FEW))
    )
    assert (set(copies), set(copies.values())) == (past.sent | now_mailed, {1}), "no second copies"
    assert received == past.mails_per_person + Counter(people("held", FEW))
    # A user who verified since can verify again; one who signed up since can sign up again.
    assert [await drill.verify(f"settled-{n}@x.example") for n in (0, 1)] == ["already_verified", "verified"]
    await drill.sign_up(["late-0@x.example"])
    await eventually(lambda: ledgers.caught("late-0@x.example"), lambda found: len(found) == 2, what="their mail")


@dataclass(frozen=True)
class MailPast:
    """The request IDs of mails before the disaster, by what the mail ledger knew at the restore point."""

    restored_to: str
    sent_later: set[str]  # queued at that time, sent later according to signup's ledger
    lost: set[str]  # accepted and sent later
    missing: set[str]  # accepted later and not sent
    erased: str  # a user erased later
    other_mail: dict[str, Any]  # another client's record of its mail
    mails_per_person: Counter[str]


async def _live_with_mail_backup(drill: Drill, backups: Backups) -> MailPast:
    ledgers, stack = drill.ledgers, drill.ledgers.stack
    await drill.sign_up(before := people("before", MAILS // 6))
    await drill.all_sent(before)
    backups.take()
    stack.kill("mail-worker")
    await drill.sign_up(waiting := people("waiting", MAILS // 6))
    await drill.relay_finished()
    other = {"request_id": "other", "to": {"email": "other@x.example"}, "subject": "S", "text": "T"}
    assert (await ledgers.mail.post("/v1/mails", json=other)).status_code == 202
    restored_to = await drill.now()

    stack.start("mail-worker")
    sent_later = await drill.all_sent(waiting)
    await drill.sign_up(after := people("after", MAILS // 6))
    lost = await drill.all_sent(after)
    erased = (await ledgers.user(waiting[1]))["id"]
    assert (await ledgers.signup.delete(f"/v1/users/{erased}")).status_code == 204
    await eventually(lambda: drill.request_ids([waiting[1]]), lambda left: not left, what="the erasure there")
    (other_mail,) = await ledgers.mails(request_id="other")
    assert other_mail["state"] == "sent"
    stack.kill("mail-worker")
    await drill.sign_up(unsent := people("unsent", FEW))
    await drill.relay_finished()
    mails_per_person = Counter([*before, *waiting, *after, *unsent, "other@x.example"])
    missing = await drill.request_ids(unsent)
    return MailPast(restored_to, sent_later, lost, missing, erased, other_mail, mails_per_person)


async def _start_mail_api_as_the_runbook_says(drill: Drill, past: MailPast) -> None:
    """docs/restoring.md: start the API without its worker; erase again; restore the other client's mail."""
    ledgers = drill.ledgers
    ledgers.stack.start("mail-api")
    await eventually(lambda: ledgers.mail.get("/health/ready"), lambda answer: answer.status_code == 200, what="mail")
    history = await ledgers.signup.get("/audit/history", params={"kind": "user.erased", "after": past.restored_to})
    assert [entry["subject"] for entry in history.json()["items"]] == [past.erased]
    erased = await ledgers.mail.post("/v1/erasures", json={"metadata": {"user_id": past.erased}})
    assert erased.json() == {"erased": 1}
    known = {name: past.other_mail[name] for name in ("request_id", "fingerprint", "to", "sent_at", "message_id")}
    restored = await ledgers.mail.post("/v1/mails/restore", json={"mails": [known | {"even_if_known": True}]})
    assert restored.json() == {"restored": ["other"], "known": []}


async def test_the_mail_database_restored(drill: Drill) -> None:
    ledgers, stack = drill.ledgers, drill.ledgers.stack
    backups = Backups(stack, CLUSTERS["mail"])
    await backups.begin()
    await stack.bring_back()
    since = await drill.now()
    past = await _live_with_mail_backup(drill, backups)
    by_message_id = await drill.message_ids()
    stack.kill("mail-api")
    backups.restore_to(past.restored_to)
    await _start_mail_api_as_the_runbook_says(drill, past)

    first = await drill.reconcile(since)
    # The feed follower lost its cursor and started a run of its own; this run does not find what that one repaired.
    own_runs = "SELECT array_agg(id) FROM reconciliation_runs WHERE actor = 'signup-worker'"
    runs = [first["named"], *[await drill.named(str(run)) for run in await ledgers.fetchval("signup", own_runs)]]
    assert {kind: set[str]().union(*(named[kind] for named in runs)) for kind in KINDS} == {
        "missing": past.missing,
        "lost_records": past.lost,
        "unexpected": set(),
        "different": past.sent_later,
        "stuck": set(),
        "unserved_users": set(),
    }
    findings = "/audit/reconciliation/findings?kind=different&healed=false"
    left = [
        item for item in (await ledgers.signup.get(findings)).json()["items"] if item["reason"] == "differs in state"
    ]
    assert [item["user_id"] for item in left] == [past.erased], "all others are repaired"
    await drill.relay_finished()
    assert (await drill.reconcile(since))["verdict"] == "balanced"
    queued = await ledgers.fetchval("mail", "SELECT array_agg(request_id) FROM mails JOIN queue ON mail_id = id")
    assert set(queued) == past.missing, "the queue holds only mails that were never sent"

    stack.start("mail-worker")
    await drill.all_sent(people("unsent", FEW))
    assert (await drill.reconcile(since))["verdict"] == "balanced"
    copies, received = await drill.copies(by_message_id | await drill.message_ids(), tuple(past.mails_per_person))
    assert set(copies.values()) == {1}, "no second copies"
    assert received == past.mails_per_person
