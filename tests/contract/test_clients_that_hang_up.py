"""A client that hangs up in the middle of its request is no error of the service, and leaves nothing behind."""

from collections.abc import Iterator

from starlette.types import Message
from structlog.testing import capture_logs

from services.mail.app import create_app as mail_app
from services.mail.settings import Settings as MailSettings
from services.signup.app import create_app as signup_app
from services.signup.settings import Settings as SignupSettings
from shared.http.middleware import CLIENT_GONE
from tests.support.apis import Api, running
from tests.support.databases import Clone

HALF = b'{"email": "half@x.example", "na'


async def test_signup_writes_nothing_and_logs_no_error(signup_database: Clone, redis_url: str) -> None:
    settings = SignupSettings(
        signup_runtime_database_url=signup_database.runtime_url,
        redis_url=redis_url,
        signup_token_keys="k" * 32,
        signup_limit_per_ip="off",
    )
    async with running(signup_app(settings), signup_database.database) as api:
        await _hangs_up(api, "/v1/signups", b"")
    assert await signup_database.database.pool.fetchval("SELECT count(*) FROM users") == 0


async def test_mail_writes_nothing_and_logs_no_error(mail_database: Clone) -> None:
    settings = MailSettings(
        mail_runtime_database_url=mail_database.runtime_url, mail_gateways="smtp://127.0.0.1:1?name=none"
    )
    async with running(mail_app(settings), mail_database.database) as api:
        key = (await api.key("shop", "mails:send"))["Authorization"].encode()
        for path in ("/v1/mails", "/v1/mails/batch"):
            await _hangs_up(api, path, key)
    assert await mail_database.database.pool.fetchval("SELECT count(*) FROM mails") == 0


async def _hangs_up(api: Api, path: str, key: bytes) -> None:
    messages: Iterator[Message] = iter(
        [{"type": "http.request", "body": HALF, "more_body": True}, {"type": "http.disconnect"}]
    )
    answered: list[Message] = []

    async def receive() -> Message:
        return next(messages)

    async def send(message: Message) -> None:
        answered.append(message)

    headers = [(b"content-type", b"application/json"), (b"content-length", b"1000"), (b"authorization", key)]
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": headers if key else headers[:2],
        "server": ("api", 80),
        "client": ("127.0.0.1", 1),
        "app": api.app,
    }
    with capture_logs() as logs:
        await api.app(scope, receive, send)
    assert [line for line in logs if line["log_level"] in {"warning", "error"}] == []
    (line,) = [line for line in logs if line["event"] == "request"]
    assert (line["status"], answered) == (CLIENT_GONE, [])
