"""docs/testing.md says which states each address of the simulator leads to. The real mail service goes through them."""

import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from local import runenv
from local.settings import CHECKOUT
from tests.support.running import open_ledgers
from tests.support.stack import Ledgers, Stack, eventually

# Address and states, of each row that names an address.
ROW = re.compile(r"^\| `([a-z-]+)@` \|[^|]*\| ([a-z →]+) \|", re.MULTILINE)
DOCUMENTED = dict(ROW.findall((CHECKOUT / "docs" / "testing.md").read_text()))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    stack = Stack(tmp_path_factory.mktemp("stack"), {"MAIL_RETRY_BASE_SECONDS": "0.2"})
    try:
        stack.start_all()
        facts = {"MAIL_URL": stack.mail_url, "OPERATOR_KEY": stack.operator_key}
        runenv.write(stack.directory / "state" / "run.env", facts)
        yield stack
    finally:
        stack.stop_all()


@pytest.fixture
async def ledgers(stack: Stack) -> AsyncIterator[Ledgers]:
    async with open_ledgers(stack) as opened:
        yield opened


async def request_mail(ledgers: Ledgers, recipient: str, on_uncertain: str = "hold", **times: str) -> dict[str, Any]:
    request = {
        "request_id": f"{on_uncertain} {recipient}",
        "to": {"email": f"{recipient}@simulator.example"},
        "subject": "S",
        "text": "T",
        "on_uncertain": on_uncertain,
        **times,
    }
    answer = await ledgers.mail.post("/v1/mails", json=request)
    assert answer.status_code == 202
    mail: dict[str, Any] = answer.json()
    return mail


async def history(ledgers: Ledgers, mail: dict[str, Any]) -> list[str]:
    items = (await ledgers.mail.get(f"/v1/mails/{mail['id']}/history")).json()["items"]
    return [item["kind"] for item in sorted(items, key=lambda item: item["id"])]


def recorded(states: str) -> list[str]:
    """The lines of history for documented states. A claim, which makes a mail `sending`, has none."""
    first, *later = [state for state in states.split(" → ") if state != "sending"]
    assert first == "queued"
    return ["mail.accepted", *(f"mail.{state}".replace("queued", "requeued") for state in later)]


def test_every_address_is_documented_with_its_states() -> None:
    assert set(DOCUMENTED) == {*("refused", "deferred", "uncertain", "uncertain-lost", "slow", "bounce", "complaint")}


@pytest.mark.parametrize("name", DOCUMENTED)
async def test_a_mail_goes_through_the_documented_states(ledgers: Ledgers, name: str) -> None:
    mail = await request_mail(ledgers, name)
    expected = recorded(DOCUMENTED[name]) + (["mail.complained"] if name == "complaint" else [])
    await eventually(lambda: history(ledgers, mail), lambda kinds: kinds == expected, what=name)
    final = (await ledgers.mail.get(f"/v1/mails/{mail['id']}")).json()
    assert final["state"] == DOCUMENTED[name].rpartition(" → ")[2]
    again = await request_mail(ledgers, name, on_uncertain="resend")
    assert (again["state"] == "suppressed") is (name in {"refused", "bounce", "complaint"})


@pytest.mark.parametrize(("name", "copies"), [("uncertain", 2), ("uncertain-lost", 1)])
async def test_resending_an_uncertain_mail_makes_as_many_copies_as_documented(
    ledgers: Ledgers, name: str, copies: int
) -> None:
    mail = await request_mail(ledgers, f"{name}+resent", on_uncertain="resend")
    expected = recorded("queued → sending → queued → sending → sent")
    await eventually(lambda: history(ledgers, mail), lambda kinds: kinds == expected, what=name)
    assert len(await ledgers.caught(f"{name}+resent@simulator.example")) == copies


async def test_a_bounce_with_another_code_suppresses_nothing(ledgers: Ledgers) -> None:
    mail = await request_mail(ledgers, "bounce+5.2.2")
    expected = recorded(DOCUMENTED["bounce"])
    await eventually(lambda: history(ledgers, mail), lambda kinds: kinds == expected, what="bounced")
    final = (await ledgers.mail.get(f"/v1/mails/{mail['id']}")).json()
    assert (final["failure"]["code"], final["failure"]["enhanced_code"]) == (550, "5.2.2")
    assert (await request_mail(ledgers, "bounce+5.2.2", on_uncertain="resend"))["state"] == "queued"


async def test_the_other_states_are_reached_as_documented(ledgers: Ledgers) -> None:
    now = datetime.now(UTC)
    send_at = now + timedelta(seconds=10)  # it has to be asked for before
    expires_at = send_at + timedelta(microseconds=1)
    times = {"send_at": send_at.isoformat(), "expires_at": expires_at.isoformat()}
    expiring = await request_mail(ledgers, "ada+expires", **times)
    waiting = await request_mail(ledgers, "ada+waits", send_at=(now + timedelta(hours=1)).isoformat())
    canceled = await ledgers.mail.post(f"/v1/mails/{waiting['id']}/cancel")
    assert canceled.json()["state"] == "canceled"
    await eventually(lambda: history(ledgers, expiring), lambda kinds: kinds == ["mail.accepted", "mail.expired"])
    assert await ledgers.caught("ada+expires@simulator.example") == []
