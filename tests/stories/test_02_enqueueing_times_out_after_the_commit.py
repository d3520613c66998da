"""Incident 2: enqueueing times out after the user row is committed; the user exists and can never be validated."""

from tests.support.stack import Ledgers, eventually


async def test_signups_with_valkey_and_mail_down_are_all_mailed_once_they_return(ledgers: Ledgers) -> None:
    stack = ledgers.stack
    stack.kill_server("valkey")
    stack.kill("mail-api")
    stack.kill("mail-worker")
    people = [f"story2-{n}@x.example" for n in range(30)]
    for email in people:
        answer = await ledgers.sign_up(email)
        assert (answer.status_code, answer.json()) == (202, {"status": "accepted"})
    owed = await ledgers.fetchval(
        "signup",
        "SELECT count(*) FROM outbox JOIN users ON users.id = user_id WHERE effect = 'mail' AND email LIKE 'story2-%'",
    )
    assert owed == len(people)
    await stack.bring_back()
    for email in people:
        (mail,) = await eventually(
            lambda email=email: ledgers.mails(to=email),  # type: ignore[misc]
            lambda mails: [mail["state"] for mail in mails] == ["sent"],
            what=f"the mail to {email}",
        )
        assert mail["template"] == "verification"
        assert len(await ledgers.caught(email)) == 1


async def test_the_relay_goes_on_while_valkey_is_away(ledgers: Ledgers) -> None:
    ledgers.stack.kill_server("valkey")
    await ledgers.sign_up("story2-valkey@x.example")
    await eventually(
        lambda: ledgers.caught("story2-valkey@x.example"), lambda found: len(found) == 1, what="a mail without Valkey"
    )
    health = (await ledgers.signup.get("/health")).json()
    assert health["checks"]["valkey"]["status"] == "warn"
    assert health["checks"]["database"]["status"] == "pass"
