"""One person's timeline over both ledgers."""

import httpx

from services.signup.accounts.verify import verify
from services.signup.audit.mail_service_view import MailServiceView
from shared.contract.ids import uuid7
from tests.support.apis import Api
from tests.support.delivery import make_rig, smtp_gateway
from tests.support.mails import make_due
from tests.support.scripted_smtp import scripted_smtp
from tests.support.signups import SignupLedger

from .conftest import Relays


async def deliver_after_one_deferral(mail_api: Api) -> None:
    async with scripted_smtp({"RCPT": ["450 4.2.1 greylisted, come back"]}) as server:
        rig = make_rig(mail_api.database.pool, [smtp_gateway(server.port)])
        await rig.deliver()
        await make_due(mail_api.database.pool, await mail_api.database.pool.fetchval("SELECT mail_id FROM queue"))
        await rig.deliver()
        await rig.close()


async def test_it_shows_every_event_in_order_with_the_gateways_reply(
    ledger: SignupLedger, operator: httpx.AsyncClient, relays: Relays, mail_api: Api
) -> None:
    (done,) = await ledger.sign_up("asa@x.example")
    await ledger.sign_up("other@x.example")
    await ledger.run("UPDATE outbox SET due_at = now() + interval '1 day' WHERE payload #>> '{to,email}' LIKE 'other%'")
    await relays.run()
    await deliver_after_one_deferral(mail_api)
    user_id = done.user["id"]
    (mail,) = [row for row in await ledger.rows("outbox_settled", user_id=user_id) if row["effect"] == "mail"]
    await verify(ledger.pool, ledger.ring, ledger.ring.sign(mail["id"], ledger.ring.signing_key_id), ledger.policy)
    answer = (await operator.get(f"/audit/users/{user_id}")).json()
    assert (answer["user_id"], answer["complete"], answer["unavailable"]) == (str(user_id), True, [])
    items = answer["items"]
    assert [item["at"] for item in items] == sorted(item["at"] for item in items)
    events = [(item["service"], item["kind"]) for item in items if item["detail"].get("effect") != "stats"]
    assert events[0][0] == "signup"
    assert [pair for pair in events if pair[0] == "mail"] == [
        ("mail", "mail.accepted"),
        ("mail", "attempt.try_later"),
        ("mail", "mail.deferred"),
        ("mail", "attempt.accepted"),
        ("mail", "mail.sent"),
    ]
    kinds = [kind for service, kind in events if service == "signup"]
    assert set(kinds[:2]) == {"user.signed_up", "outbox.owed"}
    assert kinds[2] == "outbox.delivered"
    assert "user.verified" in kinds
    (deferred,) = [item for item in items if item["kind"] == "attempt.try_later"]
    assert deferred["detail"]["reply"] == "450 4.2.1 greylisted, come back"
    assert {item["correlation_id"] for item in items if item["service"] == "mail"} == {"because-of-asa@x.example"}
    assert not any("other@" in str(item) for item in items)


async def test_without_the_mail_service_it_has_signups_part_and_is_marked_incomplete(
    ledger: SignupLedger, operator: httpx.AsyncClient, relays: Relays, signup_api: Api
) -> None:
    (done,) = await ledger.sign_up("asa@x.example")
    await relays.run()
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1", timeout=1) as unreachable:
        signup_api.app.state.mail_service_view = MailServiceView(unreachable)
        answer = (await operator.get(f"/audit/users/{done.user['id']}")).json()
    assert (answer["complete"], answer["unavailable"]) == (False, ["mail"])
    kinds = {item["kind"] for item in answer["items"]}
    assert {"user.signed_up", "outbox.owed", "outbox.delivered"} <= kinds
    assert {item["service"] for item in answer["items"]} == {"signup"}


async def test_an_erased_person_has_a_timeline_and_an_unknown_one_has_none(
    ledger: SignupLedger, operator: httpx.AsyncClient, signup_api: Api
) -> None:
    (done,) = await ledger.sign_up("asa@x.example")
    async with await signup_api.as_client("privacy", ["users:erase"]) as http:
        assert (await http.delete(f"/v1/users/{done.user['id']}")).status_code == 204
    answer = await operator.get(f"/audit/users/{done.user['id']}")
    assert answer.status_code == 200
    assert "user.erased" in {item["kind"] for item in answer.json()["items"]}
    assert "asa@x.example" not in answer.text.replace("because-of-asa@x.example", "")
    assert (await operator.get(f"/audit/users/{uuid7()}")).status_code == 404
