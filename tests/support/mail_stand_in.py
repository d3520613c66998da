"""A fake mail API that fails on command. It speaks raw HTTP, so it can also hang up in the middle of an answer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from .listener import listening

# Returns the batch entry for one mail, or None to leave the mail out of the answer.
AnswerForMail = Callable[[dict[str, Any]], dict[str, Any] | None]


def accepts(mail: dict[str, Any], outcome: str = "accepted") -> dict[str, Any]:
    request_id = mail["request_id"]
    receipt = {"id": f"mail-{request_id}", "state": "queued", "fingerprint": "f" * 64}
    return {"request_id": request_id, "outcome": outcome, "mail": receipt}


def rejects(status: int) -> AnswerForMail:
    def reject(mail: dict[str, Any]) -> dict[str, Any]:
        problem = {"type": "/problems/x", "title": "No", "status": status, "detail": "because"}
        return {"request_id": mail["request_id"], "outcome": "rejected", "problem": problem}

    return reject


@dataclass
class MailStandIn:
    """`answer_for` answers each mail; `answer_with` is a status, "hang_up", "lose_answer" or "hang"."""

    url: str = ""
    answer_for: AnswerForMail = accepts
    answer_with: int | str = 200
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)
    accepted: list[str] = field(default_factory=list)

    @property
    def asked_for(self) -> list[str]:
        return [mail["request_id"] for request in self.requests for mail in request["mails"]]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await self._answer_one(reader, writer):
            pass

    async def _answer_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length:")[2].split()[0])
        request = orjson.loads(await reader.readexactly(length))
        self.requests.append(request)
        self.headers.append(head)
        if self.answer_with == "hang_up":
            return False
        if self.answer_with == "hang":
            await reader.read()
            return False
        results = [result for mail in request["mails"] if (result := self.answer_for(mail))]
        self.accepted += [result["request_id"] for result in results if "mail" in result]
        if self.answer_with == "lose_answer":
            return False
        status = self.answer_with if isinstance(self.answer_with, int) else 200
        body = orjson.dumps({"results": results} if status == 200 else {"type": "x", "title": "Out", "status": status})
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body))
        await writer.drain()
        return True


@asynccontextmanager
async def mail_stand_in() -> AsyncIterator[MailStandIn]:
    stand_in = MailStandIn()
    async with listening(stand_in.serve) as port:
        stand_in.url = f"http://127.0.0.1:{port}"
        yield stand_in
