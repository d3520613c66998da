"""`python -m local demo`: six people sign up. It prints each one's records in both ledgers and compares them.

It uses only the public API of the services.
"""

import asyncio
import dataclasses
import secrets
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from . import lock, ports, runenv
from .run import FAILED, STOPPED, run
from .settings import Settings
from .stack import Stack, say
from .wiring import CATCHER_NAME

WAIT_SECONDS = 60
POLL_SECONDS = 0.1
ACCEPTED = 202
# Non-ASCII names and domains, and plus addresses. The domains are reserved, so no person owns them (RFC 2606).
PEOPLE = (
    ("Zoë Ångström", "zoe.angstrom+{}@example.org", "en"),
    ("Jürgen Müller", "juergen+{}@bücher.example", "de"),
    ("María José Carreño Quiñones", "mariajose+{}@correo.example", "es"),
    ("山田 花子", "hanako+{}@例え.example", "ja"),
    ("Ada O'Brien-Łukasiewicz", "ada+{}@example.net", "en"),
    ("Владимир Немирович", "vladimir+{}@почта.example", "en"),
)
Json = dict[str, Any]


@dataclass
class Person:
    name: str
    email: str
    locale: str
    user: Json = field(default_factory=dict)
    history: list[Json] = field(default_factory=list)
    outbox: dict[str, Json] = field(default_factory=dict)  # rows that request a mail, by ID
    mails: list[Json] = field(default_factory=list)
    copies: dict[str, int] = field(default_factory=dict)  # at the catcher, by Message-ID

    @property
    def is_complete(self) -> bool:
        """Whether every mail was sent and has arrived."""
        arrived = all(self.copies.get(_message_id(mail)) for mail in self.mails)
        return bool(self.outbox and self.mails and arrived) and all(mail["state"] == "sent" for mail in self.mails)

    def differences(self) -> list[str]:
        """Differences between the two ledgers and the catcher."""
        found = [] if self.outbox else ["signup's outbox has no mail for this user"]
        for row_id in self.outbox:
            mails = [mail for mail in self.mails if mail["request_id"] == row_id]
            if len(mails) != 1:
                found.append(f"outbox row {row_id} has {len(mails)} mails in the mail ledger, not one")
        for mail in self.mails:
            if mail["request_id"] not in self.outbox:
                found.append(
                    f"mail {mail['id']} has request ID {mail['request_id']}, which signup's outbox does not know"
                )
            if mail["state"] != "sent":
                found.append(f"mail {mail['id']} is {mail['state']}, not sent: {mail['failure']}")
            if (copies := self.copies.get(_message_id(mail), 0)) != 1:
                found.append(f"mail {mail['id']} arrived {copies} times, not once")
        return [f"{self.email}: {difference}" for difference in found]


def _message_id(mail: Json) -> str:
    return str(mail.get("message_id") or "").strip("<>")


class Ledgers:
    """Both services and the catcher, through their APIs."""

    def __init__(self, facts: dict[str, str], client: httpx.AsyncClient) -> None:
        self._signup, self._mail, self._catcher = facts["SIGNUP_URL"], facts["MAIL_URL"], facts["CATCHER_URL"]
        self._key = {"Authorization": f"Bearer {facts['OPERATOR_KEY']}"}
        self._client = client

    async def _get(self, url: str, **parameters: str) -> Json:
        answer = await self._client.get(url, params=parameters, headers=self._key)
        answer.raise_for_status()
        body: Json = answer.json()
        return body

    async def sign_up(self, person: Person) -> None:
        body = {"email": person.email, "name": person.name, "locale": person.locale}
        answer = await self._client.post(f"{self._signup}/v1/signups", json=body)
        if answer.status_code != ACCEPTED:
            raise httpx.HTTPError(f"signing up {person.email}: {answer.status_code} {answer.text}")

    async def read(self, person: Person) -> None:
        """Load all current records of the person."""
        person.user = (await self._get(f"{self._signup}/v1/users", email=person.email))["items"][0]
        history = await self._get(f"{self._signup}/audit/history", subject=person.user["id"], limit="500")
        person.history = sorted(history["items"], key=lambda entry: str(entry["at"]))
        person.mails = (await self._get(f"{self._mail}/v1/mails", to=person.email, limit="500"))["items"]
        for mail in person.mails:
            if _message_id(mail):
                found = await self._get(f"{self._catcher}/api/v1/search", query=f"message-id:{_message_id(mail)}")
                person.copies[_message_id(mail)] = found["messages_count"]
        for entry in person.history:
            if entry["kind"].startswith("outbox.") and entry["detail"].get("effect") == "mail":
                person.outbox[entry["subject"]] = {"effect": "mail", "state": entry["kind"].removeprefix("outbox.")}
        for identifier in {text for entry in person.history for text in entry["related"]}:
            if identifier != person.user["id"] and identifier not in person.outbox:
                await self._read_outbox_row(person, identifier)

    async def _read_outbox_row(self, person: Person, identifier: str) -> None:
        # Effects without their own history yet. Related IDs can also be those of mails, keys or imports.
        answer = await self._client.get(f"{self._signup}/audit/outbox/{identifier}", headers=self._key)
        row: Json = answer.json() if answer.is_success else {}
        if row.get("effect") == "mail":
            person.outbox[identifier] = row

    async def trace(self, mail: Json) -> list[str]:
        """The mail's history and attempts, one line each."""
        history = await self._get(f"{self._mail}/v1/mails/{mail['id']}/history")
        attempts = await self._get(f"{self._mail}/v1/mails/{mail['id']}/attempts")
        lines = [f"{entry['at']}  {entry['kind']}" for entry in sorted(history["items"], key=lambda e: str(e["at"]))]
        return lines + [
            f"attempt {attempt['n']} at {attempt['gateway']}: {attempt['outcome']}: {attempt['reply']}"
            for attempt in attempts["items"]
        ]


async def _print_person(person: Person, ledgers: Ledgers) -> None:
    say(f"\n{person.name} <{person.email}>")
    say(f"  signup's ledger: user {person.user['id']}, {person.user['status']}")
    for entry in person.history:
        say(f"    {entry['at']}  {entry['kind']}")
    for row_id, row in person.outbox.items():
        say(f"    outbox row {row_id}: {row['effect']}, {row['state']}")
    for mail in person.mails:
        say(f"  mail's ledger: mail {mail['id']} for request {mail['request_id']}: {mail['state']}")
        for line in await ledgers.trace(mail):
            say(f"    {line}")
        say(f"  at the catcher: {person.copies.get(_message_id(mail), 0)} of {_message_id(mail)}, “{mail['subject']}”")


async def show(facts: dict[str, str]) -> int:
    """Sign people up at a running stack and compare. Returns 0 if the ledgers agree."""
    tag = secrets.token_hex(4)  # fresh addresses each time
    people = [Person(name, address.format(tag), locale) for name, address, locale in PEOPLE]
    async with httpx.AsyncClient(timeout=30) as client:
        ledgers = Ledgers(facts, client)
        try:
            for person in people:
                await ledgers.sign_up(person)
            say(f"{len(people)} people have signed up")
            give_up = time.monotonic() + WAIT_SECONDS
            for person in people:
                await ledgers.read(person)
                while not person.is_complete and time.monotonic() < give_up:
                    await asyncio.sleep(POLL_SECONDS)
                    await ledgers.read(person)
            for person in people:
                await _print_person(person, ledgers)
        except (httpx.HTTPError, LookupError) as error:
            say(f"error: {type(error).__name__}: {error}")
            return FAILED
    return _verdict(people)


def _verdict(people: list[Person]) -> int:
    differences = [difference for person in people for difference in person.differences()]
    if differences:
        say("\nThe ledgers do not agree:\n  " + "\n  ".join(differences))
        return FAILED
    mails = sum(len(person.mails) for person in people)
    say(f"\nThe ledgers agree: {len(people)} people, {mails} mails requested, and each was sent and arrived once.")
    return STOPPED


async def demo(settings: Settings) -> int:
    """Use the stack that runs in the state directory, or start one and stop it again."""
    if lock.is_held(settings.state) and settings.run_env.exists():
        facts = runenv.read(settings.run_env)
        say(f"using the running stack at {facts['SIGNUP_URL']}")
        return await show(facts) if _mails_arrive(facts) else FAILED
    free = {name: port if ports.is_free(port) else ports.pick_free() for name, port in settings.ports.items()}

    async def use(stack: Stack) -> int:
        return await show(stack.facts) if _mails_arrive(stack.facts) else FAILED

    return await run(dataclasses.replace(settings, ports=free), use=use)


def _mails_arrive(facts: dict[str, str]) -> bool:
    if CATCHER_NAME in facts["MAIL_GATEWAYS"]:
        return True
    say("error: MAIL_GATEWAYS names another gateway, so the catcher gets no mails; unset it for the demo")
    return False
