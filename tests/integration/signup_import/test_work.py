"""The import loop: the outcomes of rows, and the mails owed."""

import asyncio
from itertools import pairwise
from typing import Any

import orjson
import pytest

from services.signup.imports import queries
from shared.contract.ids import uuid7
from tests.support.imports import Imports, ndjson, people, person
from tests.support.signups import SignupLedger
from tests.support.stack import eventually


def _outcomes(**counts: int) -> dict[str, int]:
    return {"created": 0, "already_exists": 0, "duplicate": 0, "invalid": 0} | counts


async def test_every_row_becomes_a_user_with_the_mail_and_the_history_of_a_signup(
    imports: Imports, ledger: SignupLedger
) -> None:
    done = await imports.run(people(45, metadata={"plan": "gold"}, locale="de"), source="acquired")
    assert (done["state"], done["rows"], done["outcomes"]) == ("done", 45, _outcomes(created=45))
    assert (done["mails_owed"], done["mails_left"]) == (45, 45)
    users = {user["external_id"]: user for user in await ledger.rows("users")}
    assert len(users) == 45
    user = users["ext-7"]
    assert (user["email"], user["source"], user["status"]) == ("person-7@x.example", "acquired", "pending")
    mail = await ledger.row("outbox", user_id=user["id"], effect="mail")
    assert mail["payload"] == {
        "to": {"email": "person-7@x.example", "name": "Person 7"},
        "locale": "de",
        "lane": "bulk",
        "template": "verification",
        **orjson.loads(ledger.policy.pinned),
    }
    entry = await ledger.row("history", subject=str(user["id"]))
    assert (entry["kind"], entry["related"]) == ("user.imported", [str(mail["id"]), done["id"]])
    assert entry["actor"].startswith("key:acquirer/")
    assert entry["detail"] == {"status": "pending", "source": "acquired", "line": 7, "mail_owed": True}


async def test_an_imported_user_is_owed_the_registered_effects_besides_the_mail(
    imports: Imports, ledger: SignupLedger
) -> None:
    await imports.run(people(3))
    owed = {row["effect"] for row in await ledger.rows("outbox")}
    registered = {effect for event, effect in zip(*ledger.policy.owed, strict=True) if event == "user.imported"}
    assert registered
    assert owed == {"mail"} | registered


async def test_a_verified_address_is_owed_a_welcome_and_no_verification(imports: Imports, ledger: SignupLedger) -> None:
    await imports.run([person(1, verified=True), person(2, verified=False)])
    first, second = sorted(await ledger.rows("users"), key=lambda user: user["external_id"])
    assert (first["status"], second["status"]) == ("verified", "pending")
    mails = {row["user_id"]: row["payload"]["template"] for row in await ledger.rows("outbox", effect="mail")}
    assert mails == {first["id"]: "welcome", second["id"]: "verification"}


async def test_the_first_of_two_rows_with_the_same_address_or_id_counts_in_and_across_batches(
    imports: Imports, ledger: SignupLedger
) -> None:
    rows = people(30)
    rows.insert(3, person(90, email="PERSON-1@x.example"))  # in the batch of the first
    rows.append(person(91, email="Person-2@X.example"))  # batches later
    rows.append(person(5, email="other@x.example"))
    done = await imports.run(rows)
    assert done["outcomes"] == _outcomes(created=30, duplicate=3)
    reported = await imports.rows(done["id"], outcome="duplicate")
    assert [row["line"] for row in reported] == [4, 32, 33]
    assert [row["reason"].partition(":")[0] for row in reported] == ["email", "email", "external_id"]
    users = {user["external_id"]: str(user["id"]) for user in await ledger.rows("users")}
    assert [row["user_id"] for row in reported] == [users["ext-1"], users["ext-2"], users["ext-5"]]


async def test_an_account_that_exists_is_reported_and_never_changed(imports: Imports, ledger: SignupLedger) -> None:
    (signed_up,) = await ledger.sign_up("person-1@x.example")
    before = (await ledger.rows("users"), len(await ledger.rows("outbox")))
    row = person(1, email="Person-1@x.example", name="Overwritten", verified=True, locale="de", metadata={"a": 1})
    done = await imports.run([row])
    assert done["outcomes"] == _outcomes(already_exists=1)
    assert (await ledger.rows("users"), len(await ledger.rows("outbox"))) == before
    (reported,) = await imports.rows(done["id"])
    assert (reported["user_id"], reported["reason"].partition(":")[0]) == (str(signed_up.user["id"]), "email")


async def test_the_same_file_again_creates_no_user_and_no_mail(imports: Imports, ledger: SignupLedger) -> None:
    await imports.run(people(25), source="acquired")
    before = await ledger.rows("outbox")
    again = await imports.run(people(25), source="acquired")
    assert (again["outcomes"], again["mails_owed"]) == (_outcomes(already_exists=25), 0)
    # Known by external ID, even with another address.
    moved = [person(n, email=f"moved-{n}@x.example") for n in range(1, 26)]
    assert (await imports.run(moved, source="acquired"))["outcomes"] == _outcomes(already_exists=25)
    assert await ledger.rows("outbox") == before


BAD_LINES = {
    b'{"external_id": "a", "email": "a@x.example"': "JSON",
    b'["a"]': "object",
    b'{"external_id": "a", "email": "a@x.example", "name": "\xff"}': "UTF-8",
    b'{"external_id": "a", "email": "not an address", "name": "A"}': "email",
    b'{"external_id": "a", "name": "A"}': "email",
    b'{"external_id": "", "email": "a@x.example", "name": "A"}': "external_id",
    b'{"external_id": 7, "email": "a@x.example", "name": "A"}': "external_id",
    b'{"external_id": "a", "email": "a@x.example", "name": "A\\u0000"}': "name",
    b'{"external_id": "a", "email": "a@x.example", "name": " "}': "name",
    b'{"external_id": "a", "email": "a@x.example", "name": "A", "locale": "klingon!"}': "locale",
    b'{"external_id": "a", "email": "a@x.example", "name": "A", "verified": "yes"}': "verified",
    b'{"external_id": "a", "email": "a@x.example", "name": "A", "metadata": {"x": "\\u0000"}}': "metadata",
    b'{"external_id": "a", "email": "a@x.example", "name": "A", "role": "admin"}': "role",
    b'{"external_id": "a", "email": "a@x.example", "name": "' + b"A" * 70_000 + b'"}': "longer",
}  # fmt: skip


async def test_an_invalid_row_gets_a_reason_and_the_import_continues(imports: Imports, ledger: SignupLedger) -> None:
    body = b"\n".join([*BAD_LINES, orjson.dumps(person(1))])
    done = await imports.run(body)
    assert (done["state"], done["outcomes"]) == ("done", _outcomes(created=1, invalid=len(BAD_LINES)))
    reported = await imports.rows(done["id"], outcome="invalid")
    assert [row["line"] for row in reported] == list(range(1, len(BAD_LINES) + 1))
    for row, word in zip(reported, BAD_LINES.values(), strict=True):
        assert word in row["reason"], row
    assert len(await ledger.rows("users")) == 1


async def test_a_row_that_only_the_database_refuses_blocks_no_other(imports: Imports) -> None:
    rows = people(30)
    rows[10] = person(11, name="Unwanted")
    import_id = await imports.start(rows)
    refuse = queries.IMPORT_USERS.replace("email, email_key, name, locale, metadata, $2", (
        "email, CASE name WHEN 'Unwanted' THEN 'NO KEY' ELSE email_key END, name, locale, metadata, $2"
    ))  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queries, "IMPORT_USERS", refuse)
        await imports.work()
    done = await imports.get(import_id)
    assert (done["state"], done["outcomes"]) == ("done", _outcomes(created=29, invalid=1))
    (reported,) = await imports.rows(import_id, outcome="invalid")
    assert (reported["line"], reported["reason"]) == (11, "The row cannot be stored")


async def test_a_dry_run_reports_the_outcomes_and_creates_no_user(imports: Imports, ledger: SignupLedger) -> None:
    await ledger.sign_up("person-2@x.example")
    before = await ledger.counts()
    rows = [*people(40), person(3), {"external_id": "b"}]
    done = await imports.run(rows, dry_run=True)
    expected = _outcomes(created=39, already_exists=1, duplicate=1, invalid=1)
    assert (done["state"], done["dry_run"], done["outcomes"], done["mails_owed"]) == ("done", True, expected, 0)
    after = await ledger.counts()
    assert {name: after[name] - before[name] for name in before} == dict.fromkeys(before, 0) | {"history": 2}
    real = await imports.run(rows)
    assert real["outcomes"] == expected


async def test_concurrent_workers_process_each_row_once(imports: Imports, ledger: SignupLedger) -> None:
    import_id = await imports.start(people(300))
    await asyncio.gather(*(imports.work() for _ in range(3)))
    done = await imports.get(import_id)
    assert done["outcomes"] == _outcomes(created=300)
    assert len(await ledger.rows("outbox", effect="mail")) == 300


async def test_a_user_who_signs_up_between_lookup_and_insert_keeps_their_account(
    imports: Imports, ledger: SignupLedger
) -> None:
    transaction = await ledger.pool.acquire()
    began = transaction.transaction()
    await began.start()
    await transaction.execute(
        "INSERT INTO users (email, email_key, name, source) VALUES ($1, $1, 'Quicker', 'web')", "person-2@x.example"
    )
    import_id = await imports.start(people(3))
    working = asyncio.create_task(imports.work())
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%INSERT INTO users%'"
    )
    await eventually(lambda: ledger.pool.fetchval(waiting), bool)
    await began.commit()
    await ledger.pool.release(transaction)
    await working
    done = await imports.get(import_id)
    assert done["outcomes"] == _outcomes(created=2, already_exists=1)
    assert (await ledger.row("users", email_key="person-2@x.example"))["name"] == "Quicker"


async def test_mails_are_due_one_by_one_at_the_requested_pace(imports: Imports, ledger: SignupLedger) -> None:
    await imports.run(people(50), mails_per_minute=60)
    mails = await ledger.rows("outbox", effect="mail")
    due = [mail["due_at"] for mail in mails]
    gaps = {round((later - earlier).total_seconds(), 3) for earlier, later in pairwise(due)}
    assert gaps == {1.0}
    # In file order, and created when due: every link lives equally long.
    assert [mail["payload"]["to"]["name"] for mail in mails] == [f"Person {n}" for n in range(1, 51)]
    assert [mail["created_at"] for mail in mails] == due


async def test_the_history_of_an_import_holds_no_personal_data(imports: Imports, ledger: SignupLedger) -> None:
    await imports.run([*people(3), person(1), {"external_id": "b", "email": "no address"}])
    for entry in await ledger.rows("history"):
        text = orjson.dumps(entry, default=str).decode()
        assert "x.example" not in text
        assert "Person" not in text
        assert "ext-" not in text


async def test_rows_are_listed_page_by_page_in_the_order_of_the_file(imports: Imports) -> None:
    import_id = (await imports.run(people(7)))["id"]
    lines: list[int] = []
    cursor: dict[str, Any] = {}
    while True:
        page = (await imports.http.get(f"/v1/imports/{import_id}/rows", params={"limit": 3} | cursor)).json()
        lines += [row["line"] for row in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert lines == list(range(1, 8))


async def test_blank_lines_only_count_for_line_numbers(imports: Imports) -> None:
    body = b"\xef\xbb\xbf" + ndjson([person(1)]) + b"\r\n  \n" + ndjson([person(2)]).replace(b"\n", b"\r\n")
    done = await imports.run(body)
    assert (done["rows"], done["outcomes"]) == (2, _outcomes(created=2))
    assert [row["line"] for row in await imports.rows(done["id"])] == [1, 4]


async def test_the_lookup_of_known_users_never_scans_the_import(imports: Imports, ledger: SignupLedger) -> None:
    """A plan that scanned it took 1 s per 500 rows in an import of 20,000 rows."""
    await imports.start(people(2000))
    asked = [uuid7(), "acquirer", ["person-1@x.example"], ["ext-1"]]
    plan = "\n".join(row[0] for row in await ledger.pool.fetch(f"EXPLAIN {queries.FIND_KNOWN}", *asked))
    for index in ("import_rows_email", "import_rows_external_id", "users_email_key_key", "users_external_id"):
        assert index in plan
    assert "Index Cond: (import_id" not in plan
    assert "Index Cond: (source" not in plan
    assert "Seq Scan" not in plan
