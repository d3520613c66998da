"""P6: reconciliation finds and repairs what a ledger lost and sends no second copy, even if processes die meanwhile."""

import random
from collections import Counter
from typing import Any

import httpx

from tests.support.reconciliation_lab import DELETE_MAILS, INSERT_UNREQUESTED_MAILS
from tests.support.stack import Ledgers, eventually

PEOPLE, LOST, FOREIGN, CHANGED = 60, 25, 5, 3
PREFIX = "reconciled"
SENT = "SELECT count(*) FROM mails WHERE to_key LIKE $1 AND state = 'sent'"
REPORTED = "SELECT count(*) FROM mail_outcomes WHERE sent_at IS NOT NULL AND request_id = ANY ($1)"
CHANGE = "UPDATE mails SET to_email = 'eve@x.example', to_key = 'eve@x.example' WHERE id = ANY ($1)"


async def _reconcile(ledgers: Ledgers, since: str, *, kill: bool) -> dict[str, Any]:
    answer = await ledgers.signup.post("/audit/reconciliation/run", json={"from": since})
    assert answer.status_code == 202, answer.text
    if kill:
        ledgers.stack.kill("signup-worker")
        ledgers.stack.kill("mail-api")
        await ledgers.stack.bring_back()
    ended: httpx.Response = await eventually(
        lambda: ledgers.signup.get(answer.headers["Location"]),
        lambda answer: answer.json()["state"] != "running",
        what="the end of the run",
    )
    run: dict[str, Any] = ended.json()
    return run


async def test_mails_deleted_planted_and_changed_are_found_and_repaired_without_a_second_copy(ledgers: Ledgers) -> None:
    since = str(await ledgers.fetchval("signup", """SELECT to_json(now())#>>'{}'"""))
    for n in range(PEOPLE):
        await ledgers.sign_up(f"{PREFIX}-{n}@x.example")
    await eventually(
        lambda: ledgers.fetchval("mail", SENT, f"{PREFIX}-%"), lambda count: count == PEOPLE, what="all of them sent"
    )
    mails = [mail for mail in await ledgers.mails(state="sent") if (mail["to"]["email"] or "").startswith(PREFIX)]
    request_ids = [mail["request_id"] for mail in mails]
    await eventually(
        lambda: ledgers.fetchval("signup", REPORTED, request_ids), lambda count: count == PEOPLE, what="signup knows"
    )
    random.Random(7).shuffle(mails)
    lost, changed = mails[:LOST], mails[LOST : LOST + CHANGED]
    for statement in DELETE_MAILS:
        await ledgers.execute("mail", statement, [mail["id"] for mail in lost])
    await ledgers.execute("mail", CHANGE, [mail["id"] for mail in changed])
    foreign = [f"{PREFIX}-foreign-{n}" for n in range(FOREIGN)]
    await ledgers.execute("mail", INSERT_UNREQUESTED_MAILS, foreign)

    first = await _reconcile(ledgers, since, kill=True)
    assert (first["state"], first["verdict"]) == ("done", "out_of_balance"), first
    found = ("missing", "lost_records", "unexpected", "different", "stuck", "unserved_users")
    assert [first[kind] for kind in found] == [0, LOST, FOREIGN, CHANGED, 0, 0]
    assert first["healed"]["lost_records"] == LOST
    assert {example["request_id"] for example in first["examples"]["unexpected"]} == set(foreign)
    listed = await ledgers.signup.get("/audit/reconciliation/findings", params={"run_id": first["id"], "limit": 500})
    named = Counter(item["kind"] for item in listed.json()["items"])
    assert named == {"lost_records": LOST, "unexpected": FOREIGN, "different": CHANGED}

    second = await _reconcile(ledgers, since, kill=False)
    assert (second["verdict"], second["known"]) == ("balanced", FOREIGN + CHANGED), second
    restored = (
        await ledgers.mail.post("/v1/mails/lookup", json={"request_ids": [m["request_id"] for m in lost]})
    ).json()
    assert {mail["state"] for mail in restored["found"].values()} == {"sent"}
    page = (await ledgers.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
    caught = Counter(message["To"][0]["Address"] for message in page["messages"])
    copies = {address: count for address, count in caught.items() if address.startswith(PREFIX)}
    assert (len(copies), set(copies.values())) == (PEOPLE, {1})
