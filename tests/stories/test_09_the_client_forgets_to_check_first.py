"""Incident 9: the client forgets to check first."""

from tests.support.stack import Ledgers, eventually


async def test_the_request_id_alone_is_enough(ledgers: Ledgers) -> None:
    """The client looks nothing up and keeps no state: the same ID is enough."""
    request = {"to": {"email": "story9@x.example"}, "template": "welcome", "variables": {"name": "Nina"}}
    ids = set()

    async def request_three_times() -> None:
        for _ in range(3):
            answer = await ledgers.mail.post("/v1/mails", json=request, headers={"Idempotency-Key": "story9"})
            assert answer.status_code == 202
            ids.add(answer.json()["id"])

    await request_three_times()
    await eventually(
        lambda: ledgers.mails(request_id="story9"), lambda mails: [mail["state"] for mail in mails] == ["sent"]
    )
    await request_three_times()
    assert len(ids) == 1
    assert len(await ledgers.caught("story9@x.example")) == 1
