"""Incident 8: the mail fails at the gateway."""

from typing import Any

from tests.support.scripted_smtp import Misbehavior, Script, scripted_smtp
from tests.support.stack import Ledgers, eventually

SCRIPT: Script = {
    # One act per mail, in the order of the mails below; after that the gateway accepts everything.
    "RCPT": ["550 5.1.1 No such person here", "450 4.2.1 Mailbox busy, come back", None, None],
    "dot": [None, Misbehavior.DROP],
}


async def _request_mail(ledgers: Ledgers, name: str) -> None:
    request = {"request_id": f"story8-{name}", "to": {"email": f"story8-{name}@x.example"}, "subject": "S", "text": "T"}
    assert (await ledgers.mail.post("/v1/mails", json=request)).status_code == 202


async def _await_state(ledgers: Ledgers, name: str, state: str) -> dict[str, Any]:
    (mail,) = await eventually(
        lambda: ledgers.mails(request_id=f"story8-{name}"),
        lambda mails: [mail["state"] for mail in mails] == [state],
        what=f"{name} to be {state}",
    )
    return mail


async def _attempts(ledgers: Ledgers, mail: dict[str, Any]) -> list[tuple[str, int | None]]:
    items = (await ledgers.mail.get(f"/v1/mails/{mail['id']}/attempts")).json()["items"]
    return [(attempt["outcome"], attempt["code"]) for attempt in reversed(items)]


async def test_it_is_failed_retried_or_uncertain_with_the_gateways_reply_on_record(ledgers: Ledgers) -> None:
    ledgers.stack.kill("mail-worker")
    async with scripted_smtp(SCRIPT) as gateway:
        ledgers.stack.start(
            "mail-worker",
            MAIL_GATEWAYS=f"smtp://127.0.0.1:{gateway.port}?name=scripted&connections=1",
            MAIL_RETRY_BASE_SECONDS="0.2",
        )
        await _request_mail(ledgers, "refused")
        refused = await _await_state(ledgers, "refused", "failed")
        await _request_mail(ledgers, "deferred")
        deferred = await _await_state(ledgers, "deferred", "sent")
        await _request_mail(ledgers, "dropped")
        dropped = await _await_state(ledgers, "dropped", "uncertain")
        # The nonexistent address is suppressed: the next request for it is answered so at once.
        again = {"request_id": "story8-again", "to": refused["to"], "subject": "S", "text": "T"}
        suppressed = (await ledgers.mail.post("/v1/mails", json=again)).json()
        ledgers.stack.kill("mail-worker")
        received = [mail.recipient for mail in gateway.received]
    assert suppressed["state"] == "suppressed"
    assert refused["failure"]["reply"].endswith("No such person here")
    assert (refused["failure"]["code"], refused["failure"]["enhanced_code"]) == (550, "5.1.1")
    assert await _attempts(ledgers, refused) == [("refused", 550)]
    assert await _attempts(ledgers, deferred) == [("try_later", 450), ("accepted", 250)]
    assert await _attempts(ledgers, dropped) == [("unknown", None)]
    # The body of the dropped mail left and may have arrived, so it is never resent automatically.
    assert received == ["story8-deferred@x.example", "story8-dropped@x.example"]
    resolved = await ledgers.mail.post(
        f"/v1/mails/{dropped['id']}/resolve", json={"as": "abandon", "reason": "The gateway's log has no trace of it"}
    )
    assert resolved.json()["state"] == "canceled"
