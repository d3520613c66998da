"""A user is erased while the mail API and Valkey are down."""

from redis.asyncio import Redis

from tests.support.stack import Ledgers, eventually

OWED = "SELECT count(*) FROM outbox WHERE user_id = $1::uuid"


async def test_a_user_erased_during_an_outage_is_erased_everywhere_after_it(ledgers: Ledgers) -> None:
    email = "erased@x.example"
    await ledgers.sign_up(email)
    user = await ledgers.user(email)
    (mail,) = await eventually(
        lambda: ledgers.mails(to=email), lambda mails: [mail["state"] for mail in mails] == ["sent"], what="the mail"
    )
    await eventually(
        lambda: ledgers.fetchval("signup", OWED, user["id"]), lambda count: count == 0, what="the other effects"
    )
    ledgers.stack.kill("mail-api")
    ledgers.stack.kill_server("valkey")
    assert (await ledgers.signup.delete(f"/v1/users/{user['id']}")).status_code == 204
    assert (await ledgers.signup.get(f"/v1/users/{user['id']}")).status_code == 410
    ledgers.stack.kill("signup-worker")
    await ledgers.stack.bring_back()
    await eventually(
        lambda: ledgers.fetchval("signup", OWED, user["id"]), lambda count: count == 0, what="the effects of erasing"
    )
    assert await ledgers.mails(to=email) == []
    erased = (await ledgers.mail.get(f"/v1/mails/{mail['id']}")).json()
    assert (erased["state"], erased["request_id"]) == ("sent", mail["request_id"])
    assert email not in str(erased)
    async with Redis.from_url(ledgers.stack._environment["REDIS_URL"]) as valkey:
        assert await valkey.get(f"counterfoil:profile:{user['id']}") is None
    answer = await ledgers.sign_up(email)
    assert answer.status_code == 202
    await eventually(lambda: ledgers.caught(email), lambda mails: len(mails) == 2, what="a mail to the new user")
