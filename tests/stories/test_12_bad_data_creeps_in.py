"""Incident 12: bad data creeps in. Constraints refuse what they can; checks find the rest, and it is mended."""

import asyncpg
import pytest

from tests.support.stack import Ledgers, eventually

REFUSED = {
    "a verified user without a time": ("signup", "UPDATE users SET status = 'verified', verified_at = NULL"),
    "a second user with the address": (
        "signup",
        "INSERT INTO users (email, email_key, name, source) SELECT email, email_key, name, 'web' FROM users LIMIT 1",
    ),
    "a mail that is sent and was never": ("mail", "UPDATE mails SET sent_at = NULL WHERE state = 'sent'"),
    "another past": ("mail", "UPDATE history SET actor = 'nobody'"),
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


async def test_what_constraints_cannot_see_is_found_mended_and_on_record(ledgers: Ledgers) -> None:
    """Somebody makes a mail wait by hand and forgets the queue: nothing would ever send it."""
    stack, email = ledgers.stack, "story12-lost@x.example"
    stack.kill("mail-worker")
    await ledgers.sign_up(email)
    (mail,) = await eventually(lambda: ledgers.mails(to=email), lambda found: [m["state"] for m in found] == ["queued"])
    await ledgers.execute("mail", "DELETE FROM queue WHERE mail_id = $1", mail["id"])
    stack.start("mail-worker")
    checks = (await ledgers.mail.post("/audit/checks/run")).json()["items"]
    (check,) = [check for check in checks if check["name"] == "missing_in_queue"]
    # The worker runs the checks too when it starts: one of the two has mended it.
    assert check["fixed_total"] >= 1
    await eventually(lambda: ledgers.caught(email), lambda found: len(found) == 1, what="the mail that was lost")
    told = (await ledgers.mail.get("/audit/history", params={"subject": mail["id"]})).json()["items"]
    (mended,) = [entry for entry in told if entry["kind"] == "check.fixed"]
    assert mended["detail"] == {"check": "missing_in_queue"}
    again = (await ledgers.mail.post("/audit/checks/run")).json()["items"]
    assert [check["violations"] for check in again if check["name"] == "missing_in_queue"] == [0]
