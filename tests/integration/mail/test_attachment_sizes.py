"""How large a body may be, with attachments and without, and how many large ones are in memory at once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest

from services.mail.app import create_app
from services.mail.settings import Settings
from shared.http import body_limit
from shared.http.body_limit import BodyLimit
from tests.support.apis import Api, running
from tests.support.attachments import pdf, sent
from tests.support.databases import Clone

from .conftest import ALL_SCOPES
from .test_attachments import MAIL

MEBIBYTE = 1 << 20
JSON = {"Content-Type": "application/json"}
LARGE = MAIL | {"attachments": [sent(pdf(3 * MEBIBYTE))]}


@asynccontextmanager
async def _limited(clone: Clone, redis_url: str, most_bytes: int) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(
        mail_runtime_database_url=clone.runtime_url, redis_url=redis_url, mail_attachments_max_bytes=most_bytes
    )
    async with running(create_app(settings), clone.database) as api, await api.as_client("shop", ALL_SCOPES) as client:
        yield client


async def _status(client: httpx.AsyncClient, path: str, body: Any) -> int:
    answer = await client.post(path, json=body)
    if answer.status_code == 413:
        assert answer.json()["type"] == "/problems/payload-too-large"
    return answer.status_code


async def test_attachments_may_have_so_many_bytes_together_and_not_one_more(
    mail_database: Clone, redis_url: str
) -> None:
    async with _limited(mail_database, redis_url, 3_000) as client:
        for sizes, status in (((3_000,), 202), ((1_000, 2_000), 202), ((3_001,), 413), ((1_000, 2_001), 413)):
            attachments = [sent(pdf(size)) for size in sizes]
            mail = MAIL | {"request_id": str(sizes), "attachments": attachments}
            assert await _status(client, "/v1/mails", mail) == status
        spread = [MAIL | {"request_id": f"r{n}", "attachments": [sent(pdf(1_500))]} for n in range(3)]
        assert await _status(client, "/v1/mails/batch", {"mails": spread[:2]}) == 200
        assert await _status(client, "/v1/mails/batch", {"mails": spread}) == 413


async def test_no_attachment_may_be_the_setting(mail_database: Clone, redis_url: str) -> None:
    async with _limited(mail_database, redis_url, 0) as client:
        assert await _status(client, "/v1/mails", MAIL) == 202
        assert await _status(client, "/v1/mails", MAIL | {"attachments": [sent(b"x")]}) == 413


@pytest.mark.parametrize(
    "body",
    [
        MAIL | {"text": "x" * MEBIBYTE},
        MAIL | {"text": "x" * MEBIBYTE, "attachments": [sent(b"x")]},
        MAIL | {"attachments": [sent(b"x") | {"filename": "x" * MEBIBYTE}]},
        {"attachments": "x" * MEBIBYTE},
        "x" * MEBIBYTE,
    ],
)
async def test_without_the_content_of_attachments_the_limit_stays(client: httpx.AsyncClient, body: Any) -> None:
    assert await _status(client, "/v1/mails", body) == 413


async def test_a_large_body_that_is_no_json_is_too_large(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/mails", content=b"{" * (2 * MEBIBYTE), headers=JSON)
    assert answer.status_code == 413


async def test_a_body_over_every_limit_is_refused_before_it_is_read(client: httpx.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        yield orjson.dumps(LARGE)[:-3]
        while True:
            read += MEBIBYTE
            yield b"A" * MEBIBYTE

    answer = await client.post("/v1/mails", content=endless(), headers=JSON)
    assert (answer.status_code, answer.json()["type"]) == (413, "/problems/payload-too-large")
    assert read < 16 * MEBIBYTE
    declared = await client.post("/v1/mails", content=endless(), headers=JSON | {"Content-Length": str(40 * MEBIBYTE)})
    assert (declared.status_code, declared.headers["connection"]) == (413, "close")
    assert read < 16 * MEBIBYTE


async def test_a_stranger_takes_no_turn(mail_api: Api) -> None:
    read = 0

    async def large() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(4):
            read += MEBIBYTE
            yield b" " * MEBIBYTE

    for headers in (JSON, JSON | {"Content-Length": str(4 * MEBIBYTE)}):
        assert (await mail_api.http.post("/v1/mails", content=large(), headers=headers)).status_code == 401
    assert read <= 2 * MEBIBYTE, "the body is not read"


class _Slow:
    """An application that reads its body and keeps it until `go` is set."""

    def __init__(self) -> None:
        self.holding = self.most = 0
        self.go = asyncio.Event()

    async def __call__(self, _scope: Any, receive: Any, _send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        self.holding += 1
        self.most = max(self.most, self.holding)
        await self.go.wait()
        self.holding -= 1


def _scope(size: int | None) -> dict[str, Any]:
    header = (b"transfer-encoding", b"chunked") if size is None else (b"content-length", str(size).encode())
    return {"type": "http", "path": "/large", "headers": [header]}


async def _send_nothing(_message: Any) -> None:
    raise AssertionError("nothing is answered")


@pytest.mark.parametrize("declared", [True, False])
async def test_few_large_bodies_are_in_memory_at_once_and_small_ones_do_not_wait(declared: bool) -> None:
    app = _Slow()
    limited = BodyLimit(app, limit_of=lambda _path: 10, larger={"/large": 100})

    def chunks(size: int) -> Any:
        left = [b"x" * 10] * (size // 10)

        async def receive() -> dict[str, Any]:
            await asyncio.sleep(0)
            return {"type": "http.request", "body": left.pop(), "more_body": bool(left)}

        return receive

    sizes = [100] * 8 + [10] * 3
    calls = [
        asyncio.ensure_future(limited(_scope(size if declared else None), chunks(size), _send_nothing))
        for size in sizes
    ]
    for _ in range(100):
        await asyncio.sleep(0)
    assert app.holding == 2 + 3
    app.go.set()
    await asyncio.gather(*calls)
    assert app.most <= 5


async def test_a_silent_client_loses_its_turn(
    monkeypatch: pytest.MonkeyPatch, mail_api: Api, client: httpx.AsyncClient
) -> None:
    monkeypatch.setattr(body_limit, "_SILENCE_SECONDS", 0.05)

    async def stuck() -> AsyncIterator[bytes]:
        yield b" " * (2 * MEBIBYTE)
        await asyncio.sleep(60)

    answers = await asyncio.gather(*(client.post("/v1/mails", content=stuck(), headers=JSON) for _ in range(4)))
    assert {(answer.status_code, answer.json()["type"]) for answer in answers} == {(400, "/problems/malformed-request")}
    assert await _status(client, "/v1/mails", LARGE) == 202
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM mails") == 1
