"""P9 and failover: a gateway that dies under load costs no mail an attempt, loses none and doubles none."""

from collections import Counter

from tests.support.scripted_smtp import scripted_smtp
from tests.support.stack import Ledgers, eventually

MAILS = 600
UNFINISHED = "SELECT count(*) FROM mails WHERE request_id LIKE 'failover-%' AND state NOT IN ('sent', 'uncertain')"
SENT = "SELECT count(*) FROM mails WHERE request_id LIKE 'failover-%' AND state = 'sent'"
NOT_ONE_ATTEMPT = "SELECT count(*) FROM mails WHERE request_id LIKE 'failover-%' AND attempts <> 1"


async def test_the_first_of_two_gateways_dies_and_comes_back_under_load(ledgers: Ledgers) -> None:
    mails = [
        {"request_id": f"failover-{n}", "to": {"email": f"failover-{n}@x.example"}, "subject": "S", "text": "T"}
        for n in range(MAILS)
    ]
    ledgers.stack.kill("mail-worker")
    async with scripted_smtp({}) as second:
        async with scripted_smtp({}) as first:
            ledgers.stack.start(
                "mail-worker",
                MAIL_GATEWAYS=f"smtp://127.0.0.1:{first.port}?name=first&connections=4,"
                f"smtp://127.0.0.1:{second.port}?name=second&connections=4",
            )
            assert (await ledgers.mail.post("/v1/mails/batch", json={"mails": mails[:300]})).status_code == 200
            await eventually(
                lambda: ledgers.fetchval("mail", SENT), lambda count: bool(count > 50), what="delivery under way"
            )
            port = first.port
        # The first gateway is gone: its port refuses connections.
        assert (await ledgers.mail.post("/v1/mails/batch", json={"mails": mails[300:500]})).status_code == 200
        await eventually(
            lambda: ledgers.fetchval("mail", SENT), lambda count: bool(count > 400), what="delivery by the second"
        )
        async with scripted_smtp({}, port=port) as restarted:
            assert (await ledgers.mail.post("/v1/mails/batch", json={"mails": mails[500:]})).status_code == 200
            await eventually(lambda: ledgers.fetchval("mail", UNFINISHED), lambda count: count == 0, what="the rest")
            ledgers.stack.kill("mail-worker")
            accepted = Counter(
                mail.recipient for gateway in (first, second, restarted) for mail in gateway.received if mail.accepted
            )
    assert set(accepted.values()) == {1}
    assert second.accepted
    sent = {mail["to"]["email"] for mail in await ledgers.mails(client="operator", state="sent")}
    uncertain = {mail["to"]["email"] for mail in await ledgers.mails(client="operator", state="uncertain")}
    recipients = {f"failover-{n}@x.example" for n in range(MAILS)}
    assert recipients <= sent | uncertain
    assert recipients & sent <= accepted.keys()
    # At most one mail per connection was in its body when the gateway died; those are uncertain.
    assert len(recipients & uncertain) <= 4
    assert await ledgers.fetchval("mail", NOT_ONE_ATTEMPT) == 0
