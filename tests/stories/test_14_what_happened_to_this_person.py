"""Incident 14: "what happened to this person?" has one answer over both services."""

from tests.support.stack import Ledgers, eventually


async def test_one_timeline_covers_both_services(ledgers: Ledgers) -> None:
    email = "story14@x.example"
    headers = {"X-Request-ID": "story14-request"}
    await ledgers.anonymous.post("/v1/signups", json={"email": email, "name": "Åsa"}, headers=headers)
    user = await ledgers.user(email)
    (caught,) = await eventually(lambda: ledgers.caught(email), lambda found: len(found) == 1, what="the mail")
    message = (await ledgers.catcher.get(f"/api/v1/message/{caught['ID']}")).json()
    sent = {"to": email, "state": "sent"}
    await eventually(lambda: ledgers.mails(**sent), lambda found: len(found) == 1, what="the attempt in the ledger")
    token = message["Text"].partition("/verify/")[2].split()[0]
    assert (await ledgers.anonymous.post("/v1/verifications", json={"token": token})).json() == {"status": "verified"}
    await eventually(lambda: ledgers.caught(email), lambda found: len(found) == 2, what="the welcome mail")

    async def timeline() -> list[str]:
        answer = (await ledgers.signup.get(f"/audit/users/{user['id']}")).json()
        if not answer["complete"]:  # the mail service was slow to answer
            return answer["unavailable"]  # type: ignore[no-any-return]
        items = answer["items"]
        assert [item["at"] for item in items] == sorted(item["at"] for item in items)
        first = {item["correlation_id"] for item in items if item["kind"] in {"user.signed_up", "mail.accepted"}}
        assert "story14-request" in first
        return [f"{item['service']} {item['kind']}" for item in items]

    entries = await eventually(timeline, lambda kinds: kinds.count("mail mail.sent") == 2, what="both mails sent")
    remaining = iter(entries)
    # In this order, with other entries between them.
    for kind in (
        "signup user.signed_up",
        "mail mail.accepted",
        "mail attempt.accepted",
        "signup user.verified",
        "mail mail.accepted",
        "mail attempt.accepted",
    ):
        assert kind in remaining, (kind, entries)


async def test_with_the_mail_service_down_it_shows_signups_half_and_says_so(ledgers: Ledgers) -> None:
    email = "story14-half@x.example"
    await ledgers.sign_up(email)
    user = await ledgers.user(email)
    await eventually(lambda: ledgers.caught(email), lambda found: len(found) == 1, what="the mail")
    ledgers.stack.kill("mail-api")
    answer = await ledgers.signup.get(f"/audit/users/{user['id']}")
    assert answer.status_code == 200
    timeline = answer.json()
    assert (timeline["complete"], timeline["unavailable"]) == (False, ["mail"])
    assert {item["service"] for item in timeline["items"]} == {"signup"}
    assert "user.signed_up" in {item["kind"] for item in timeline["items"]}
