"""Incident 12: bad data creeps in. Constraints refuse what they can; sanity checks find and repair the rest."""

import asyncpg
import pytest

from tests.support.stack import Ledgers, eventually

REFUSED = {
    "a verified user without a time": ("signup", "UPDATE users SET status = 'verified', verified_at = NULL"),
    "a second user with the address": (
        "signup",
        "INSERT INTO users (email, email_key, name, source) SELECT email, email_key, name, 'web' FROM users LIMIT 1",
    ),
    "a sent mail without a time": ("mail", "UPDATE mails SET sent_at = NULL WHERE state = 'sent'"),
    "changed history": ("mail", "UPDATE history SET actor = 'changed'"),
}


async def test_constraints_refuse_bad_data_even_from_the_owner(ledgers: Ledgers) -> None:
    await ledgers.sign_up("story12-refused@x.example")
    await eventually(
        lambda: ledgers.mails(to="story12-refused@x.example"),
        lambda found: [mail["state"] for mail in found] == ["sent"],
    )
    for service, statement in REFUSED.values():
        with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.RestrictViolationError)):
            await ledgers.execute(service, statement)


async def test_what_constraints_cannot_see_is_found_repaired_and_recorded(ledgers: Ledgers) -> None:
    """A queued mail loses its queue row by hand: the worker would never send it."""
    stack, email = ledgers.stack, "story12-lost@x.example"
    stack.kill("mail-worker")
    await ledgers.sign_up(email)
    (mail,) = await eventually(lambda: ledgers.mails(to=email), lambda found: [m["state"] for m in found] == ["queued"])
    await ledgers.execute("mail", "DELETE FROM queue WHERE mail_id = $1", mail["id"])
    stack.start("mail-worker")
    checks = (await ledgers.mail.post("/audit/checks/run")).json()["items"]
    (check,) = [check for check in checks if check["name"] == "missing_in_queue"]
    # The worker also runs the checks when it starts: one of the two runs repaired it.
    assert check["fixed_total"] >= 1
    await eventually(lambda: ledgers.caught(email), lambda found: len(found) == 1, what="the mail that was lost")
    history = (await ledgers.mail.get("/audit/history", params={"subject": mail["id"]})).json()["items"]
    (repaired,) = [entry for entry in history if entry["kind"] == "check.fixed"]
    assert repaired["detail"] == {"check": "missing_in_queue"}
    again = (await ledgers.mail.post("/audit/checks/run")).json()["items"]
    assert [check["violations"] for check in again if check["name"] == "missing_in_queue"] == [0]
