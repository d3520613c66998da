"""Logs hold no personal data, whatever users do and whatever fails."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.support.notices import quoted_header, report
from tests.support.running import open_ledgers
from tests.support.scripted_smtp import Script, scripted_smtp
from tests.support.stack import PROCESSES, Ledgers, Stack, eventually

# Words that occur only in personal data: Åsa's local part, name and note, and a mail's text.
PERSONAL = ("asa.oeberg", "åsa", "öberg", "s3cret-note", "s3cret-body", "s3cret-subject")
REFUSAL = "550 5.7.1 Åsa Öberg <{}> is not welcome here"
TOKEN = re.compile(r"/verify/([\w-]{70})")


def _person(n: int) -> dict[str, Any]:
    return {"email": f"Asa.Oeberg{n}@bücher.example", "name": "Åsa Öberg", "metadata": {"note": "s3cret-note"}}


async def _add_failing_constraint(ledgers: Ledgers, service: str, table: str, check: str) -> None:
    await ledgers.execute(service, f"ALTER TABLE {table} ADD CONSTRAINT broken CHECK ({check}) NOT VALID")


async def _drop_constraint(ledgers: Ledgers, service: str, table: str) -> None:
    await ledgers.execute(service, f"ALTER TABLE {table} DROP CONSTRAINT broken")


async def _await_in_log(ledgers: Ledgers, process: str, word: str) -> None:
    async def log() -> str:
        return ledgers.stack.log_of(process)

    await eventually(log, lambda text: word in text, what=f"{word} in the log of {process}")


async def _users_sign_up_and_verify(ledgers: Ledgers) -> list[str]:
    """Valid and invalid signups, anonymous and keyed; returns the verification tokens."""
    for n in range(2):
        assert (await ledgers.anonymous.post("/v1/signups", json=_person(n))).status_code == 202
    assert (await ledgers.signup.post("/v1/signups", json=_person(2))).status_code == 201
    await ledgers.anonymous.post("/v1/signups", json=_person(3) | {"åsa": 1, "locale": "åsa"})
    garbage = {b"Content-Type": "text/åsa".encode()}
    await ledgers.anonymous.post("/v1/signups", content=b'{"email": "asa.oeberg@', headers=garbage)
    await ledgers.signup.get("/v1/users", params={"email": _person(0)["email"], "åsa.oeberg": "x@asa.oeberg.example"})
    await ledgers.mail.put("/v1/suppressions/asa.oeberg@x.example", json={"reason": "Åsa Öberg"})
    tokens = []
    for n in range(3):
        (mail,) = await eventually(
            lambda n=n: ledgers.caught(f"Asa.Oeberg{n}@xn--bcher-kva.example"),  # type: ignore[misc]
            lambda mails: len(mails) == 1,
            what="the mail",
        )
        text = (await ledgers.catcher.get(f"/api/v1/message/{mail['ID']}")).json()["Text"]
        tokens += TOKEN.findall(text)
    await ledgers.anonymous.get(f"/verify/{tokens[0]}")
    await ledgers.anonymous.post(f"/verify/{tokens[0]}")
    await ledgers.anonymous.post(f"/verify/{tokens[1]}/{tokens[1]}")
    await ledgers.anonymous.post("/v1/verifications", json={"token": tokens[1]})
    return tokens


async def _a_mail_bounces(ledgers: Ledgers) -> None:
    (mail,) = await ledgers.mails(to=_person(0)["email"], template="verification")
    notice = report(quoted_header(mail["id"])).replace(b"b@x.example", "asa.oeberg0@bücher.example".encode())
    for raw in (notice, b"Subject: asa.oeberg0@x.example\r\n\r\n\xff"):
        answer = await ledgers.mail.post("/v1/bounces", content=raw, headers={"Content-Type": "message/rfc822"})
        assert answer.status_code == 202


async def _gateways_quote_the_address(ledgers: Ledgers) -> None:
    addresses = [f"asa.oeberg-{n}@x.example" for n in range(5)]
    script: Script = {
        "RCPT": [REFUSAL.format(addresses[0]), "451 4.2.0 busy: " + addresses[1], None, None],
        "dot": [REFUSAL.format(addresses[2]), f"Åsa {addresses[3]}?"],
    }
    ledgers.stack.kill("mail-worker")
    async with scripted_smtp(script) as gateway:
        ledgers.stack.start(
            "mail-worker",
            MAIL_GATEWAYS=f"smtp://127.0.0.1:{gateway.port}?name=scripted&connections=1",
            MAIL_RETRY_BASE_SECONDS="0.2",
        )
        mails = [
            {
                "request_id": f"quoted-{n}",
                "to": {"email": address, "name": "Åsa Öberg"},
                "subject": "s3cret-subject",
                "text": "s3cret-body",
            }
            for n, address in enumerate(addresses)
        ]
        assert (await ledgers.mail.post("/v1/mails/batch", json={"mails": mails})).status_code == 200
        still = "SELECT count(*) FROM mails WHERE request_id LIKE 'quoted-%' AND state IN ('queued', 'sending')"
        await eventually(lambda: ledgers.fetchval("mail", still), lambda count: count == 0, what="all tried")
        await _recording_a_sent_mail_fails(ledgers)


async def _recording_a_sent_mail_fails(ledgers: Ledgers) -> None:
    await _add_failing_constraint(ledgers, "mail", "mails", "to_name IS NULL OR state <> 'sent'")
    await ledgers.mail.post(
        "/v1/mails",
        json={
            "request_id": "unrecordable",
            "to": {"email": "asa.oeberg-unrecordable@x.example", "name": "Åsa Öberg"},
            "subject": "s3cret-subject",
            "text": "s3cret-body",
        },
    )
    await _await_in_log(ledgers, "mail-worker", "violates check constraint")
    await _drop_constraint(ledgers, "mail", "mails")


async def _the_apis_fail(ledgers: Ledgers) -> None:
    await _add_failing_constraint(ledgers, "signup", "users", "name <> 'Åsa Öberg'")
    assert (await ledgers.anonymous.post("/v1/signups", json=_person(7))).status_code == 500
    await _drop_constraint(ledgers, "signup", "users")
    await _add_failing_constraint(ledgers, "mail", "mails", "to_name IS NULL")
    mail = {"request_id": "x", "to": {"email": _person(7)["email"], "name": "Åsa Öberg"}, "subject": "S", "text": "T"}
    assert (await ledgers.mail.post("/v1/mails", json=mail)).status_code == 500
    await _drop_constraint(ledgers, "mail", "mails")


async def _settling_the_outbox_fails(ledgers: Ledgers) -> None:
    await _add_failing_constraint(ledgers, "signup", "outbox_settled", "payload ->> 'template' <> 'already-registered'")
    await ledgers.execute("signup", "UPDATE users SET last_mail_at = NULL")
    assert (await ledgers.anonymous.post("/v1/signups", json=_person(0))).status_code == 202
    await _await_in_log(ledgers, "signup-worker", "loop_failed")
    await _drop_constraint(ledgers, "signup", "outbox_settled")


@pytest.fixture
def debug_stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path, settings={"LOG_LEVEL": "DEBUG"})
    try:
        stack.start_all()
        yield stack
    finally:
        stack.stop_all()


async def test_no_line_of_any_process_holds_an_address_a_name_a_token_or_a_key(debug_stack: Stack) -> None:
    stack = debug_stack
    async with open_ledgers(stack) as ledgers:
        tokens = await _users_sign_up_and_verify(ledgers)
        await ledgers.signup.get("/v1/users", headers={"Authorization": f"Bearer {stack.operator_key}x"})
        await _a_mail_bounces(ledgers)
        await _the_apis_fail(ledgers)
        await _settling_the_outbox_fails(ledgers)
        await _gateways_quote_the_address(ledgers)
        for name in PROCESSES:
            stack.terminate(name)
    assert len(tokens) == 3
    passwords = set(re.findall(r"://[^:/]*:([^@]+)@", str(stack._environment)))
    secrets = {*tokens, stack.operator_key, stack._environment["MAIL_API_KEY"], *passwords}
    secrets |= {stack._environment["SIGNUP_TOKEN_KEYS"]}
    for name in PROCESSES:
        text = stack.log_of(name)
        lines = [orjson.loads(line) for line in text.splitlines()]
        assert {line["service"] for line in lines} == {name}, "every line is a JSON event of this process"
        # JSON may escape what is not ASCII.
        logged = "\n".join(str(line) for line in lines).lower()
        assert [word for word in PERSONAL if word in logged] == [], name
        assert [secret for secret in secrets if secret.lower() in logged] == [], name
        # A constraint whose DETAIL quotes personal data did fail, and was logged without it.
        assert "violates check constraint" in text, name
        assert "DETAIL" not in text, name
    assert '"route": "/verify/{token}"' in stack.log_of("signup-api")
