"""Acceptance of mails: clients that ask at once, again, with other content, in batches (P4)."""

import asyncio
from typing import Any
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from services.mail.intake.accept import Accepted, Intake, accept
from services.mail.intake.from_settings import make_intake
from services.mail.settings import Settings
from shared.contract.mails import MailRequest
from shared.contract.principals import Principal

from .machine import Machine, picks, try_orders

CLIENTS = [Principal(name, "key", frozenset({"mails:send"})) for name in ("shop", "billing")]
READ_LEDGER = """
SELECT m.client, m.request_id, m.id, encode(m.fingerprint, 'hex') AS fingerprint,
       (SELECT count(*) FROM queue q WHERE q.mail_id = m.id) AS queued,
       (SELECT count(*) FROM history h WHERE h.subject = m.id::text AND h.kind = 'mail.accepted') AS noted
FROM mails m WHERE m.request_id = ANY ($1::text[])
"""
# A batch: the number of the request ID and of the content, each of few, so that they meet.
batches = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1)), min_size=1, max_size=4)
clients = st.integers(0, len(CLIENTS) - 1)
_names = iter(range(1_000_000))


class Acceptance(Machine):
    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Request IDs are remembered for ever, so each example has its own.
        self.name = f"example-{next(_names)}"
        settings = Settings(mail_runtime_database_url="postgresql://none", mail_gateways="smtp://127.0.0.1:1")
        self.intake: Intake = make_intake(settings, self.database)
        # By client and request ID: what clients were told, and the content that was accepted.
        self.told: dict[tuple[str, str], tuple[UUID, int]] = {}

    @rule(client=clients, batch=batches)
    def ask(self, client: int, batch: list[tuple[int, int]]) -> None:
        self._learn(client, batch, self.run(self._ask(client, batch)))

    @rule(client=clients, others=clients, batch=batches, other=batches)
    def ask_twice_at_once(
        self, client: int, others: int, batch: list[tuple[int, int]], other: list[tuple[int, int]]
    ) -> None:
        async def both() -> list[list[Accepted]]:
            return list(await asyncio.gather(self._ask(client, batch), self._ask(others, other)))

        answers = self.run(both())
        # The one that was accepted first decides what the other is compared with.
        asked = [(client, batch, answers[0]), (others, other, answers[1])]
        for whose, what, answer in asked:
            self._learn_accepted(whose, what, answer)
        for whose, what, answer in asked:
            self._learn(whose, what, answer)

    @precondition(lambda self: self.told)
    @rule(pick=picks)
    def ask_again_after_the_answer_was_lost(self, pick: int) -> None:
        client, request_id = list(self.told)[pick % len(self.told)]
        mail_id, content = self.told[client, request_id]
        whose = next(n for n, each in enumerate(CLIENTS) if each.client == client)
        (answer,) = self.run(self._ask(whose, [(int(request_id.rpartition("-")[2]), content)]))
        assert answer.outcome == "replayed"
        assert answer.mail is not None
        assert answer.mail["id"] == mail_id

    @invariant()
    def promises_hold(self) -> None:
        rows = self.run(self.pool.fetch(READ_LEDGER, [self._request_id(number) for number in range(4)]))
        assert {(row["client"], row["request_id"]): row["id"] for row in rows} == {
            key: mail_id for key, (mail_id, _) in self.told.items()
        }, "P4: one row for each client and request ID, the one that the answers name"
        assert len(rows) == len(self.told), "P4"
        for row in rows:
            assert (row["queued"], row["noted"]) == (1, 1), "P4: once in the queue, P7: once in history"

    def _request_id(self, number: int) -> str:
        return f"{self.name}-{number}"

    async def _ask(self, client: int, batch: list[tuple[int, int]]) -> list[Accepted]:
        requests = [
            MailRequest.model_validate(
                {
                    "request_id": self._request_id(number),
                    "to": {"email": "a@x.example"},
                    "subject": str(content),
                    "text": "T",
                }
            )
            for number, content in batch
        ]
        return await accept(self.intake, CLIENTS[client], requests)

    def _learn_accepted(self, client: int, batch: list[tuple[int, int]], answers: list[Accepted]) -> None:
        for (number, content), answer in zip(batch, answers, strict=True):
            key = (CLIENTS[client].client, self._request_id(number))
            if answer.outcome == "accepted":
                assert answer.mail is not None
                assert self.told.get(key, (answer.mail["id"], content)) == (answer.mail["id"], content), "P4"
                self.told[key] = (answer.mail["id"], content)

    def _learn(self, client: int, batch: list[tuple[int, int]], answers: list[Accepted]) -> None:
        self._learn_accepted(client, batch, answers)
        for (number, content), answer in zip(batch, answers, strict=True):
            mail_id, accepted = self.told[CLIENTS[client].client, self._request_id(number)]
            assert (answer.outcome == "rejected") == (content != accepted), "P4: other content is refused, equal is not"
            if answer.outcome == "rejected":
                assert answer.problem is not None
                assert answer.problem.slug == "request-id-reused"
                assert [error["pointer"] for error in answer.problem.errors] == ["/subject"]
            else:
                assert answer.mail is not None
                assert answer.mail["id"] == mail_id


def test_acceptance_keeps_its_promise_in_any_order_of_requests(mail_url: str) -> None:
    try_orders(Acceptance, mail_url)
