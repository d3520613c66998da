"""What may be repeated of the errors of each driver, as a real server causes them."""

import asyncio
import smtplib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiosmtplib
import asyncpg
import httpx
import pytest
import sqlalchemy as sa
from redis.asyncio import Redis

from local import valkey
from shared.observability.foreign_errors import describe
from tests.support.databases import Clone
from tests.support.listener import listening
from tests.support.scripted_smtp import Script, scripted_smtp

# A name that looks like the end of redis-py's quotation, and an address.
NAME = "Åsa) of pipeline caused error: ('Öberg"
ADDRESS = "asa.oeberg@example.org"
PERSONAL = ("Åsa", "Öberg", "asa.oeberg")


async def described(call: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(Exception) as raised:
        await call()
    line = describe(raised.value)
    assert not [word for word in PERSONAL if word in line]
    assert any(word in str(raised.value) for word in PERSONAL), "the error itself does quote a person"
    return line


async def test_postgresql_is_repeated_without_the_row_and_the_arguments(signup_database: Clone) -> None:
    pool = signup_database.database.pool
    async with pool.acquire() as connection:
        await connection.execute("CREATE TEMPORARY TABLE people (email text UNIQUE)")
        insert = "INSERT INTO people (email) VALUES ($1)"
        await connection.execute(insert, ADDRESS)
        assert await described(lambda: connection.execute(insert, ADDRESS)) == (
            'UniqueViolationError: duplicate key value violates unique constraint "people_email_key"'
        )
        number = "SELECT $1::text::int"
        assert await described(lambda: connection.fetch(number, NAME)) == "InvalidTextRepresentationError"
        assert await described(lambda: connection.fetch("SELECT $1::int", NAME)) == "DataError"


async def test_postgresql_behind_sqlalchemy_is_repeated_without_statement_and_parameters(
    signup_database: Clone,
) -> None:
    async def ask(statement: str) -> None:
        async with signup_database.database.engine.connect() as connection:
            await connection.execute(sa.text(statement))

    wrong = await described(lambda: ask(f"SELECT '{ADDRESS}'::int"))
    assert wrong == "InvalidTextRepresentationError"
    missing = await described(lambda: ask(f"SELECT '{ADDRESS}' FROM missing_table"))
    assert missing == 'UndefinedTableError: relation "missing_table" does not exist'


async def test_postgresqls_words_about_itself_are_repeated_without_the_password(signup_database: Clone) -> None:
    url = signup_database.runtime_url.replace("signup_app:", "signup_app:Öberg")
    with pytest.raises(asyncpg.PostgresError) as raised:
        await asyncpg.connect(url)
    assert describe(raised.value) == ('InvalidPasswordError: password authentication failed for user "signup_app"')


@pytest.fixture
async def replica(tmp_path: Path) -> AsyncIterator[Redis]:
    """A Valkey that was made a replica of a server that does not exist."""
    server = valkey.start_server(tmp_path)
    client = Redis.from_url(server.url)
    await client.execute_command("REPLICAOF", "127.0.0.1", "1")
    yield client
    await client.aclose()
    server.stop()


async def test_valkey_is_repeated_without_the_command(replica: Redis) -> None:
    async def pipeline() -> None:
        commands = replica.pipeline(transaction=False)
        commands.set("profile:1", NAME)
        await commands.execute()

    async def transaction() -> None:
        commands = replica.pipeline(transaction=True)
        commands.set("profile:1", NAME)
        await commands.execute()

    read_only = "ReadOnlyError: You can't write against a read only replica."
    assert await described(pipeline) == read_only
    assert await described(transaction) == read_only
    unknown = await described(lambda: replica.execute_command(NAME, ADDRESS))  # type: ignore[no-untyped-call]
    assert unknown == "ResponseError: unknown command"


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (
            {"banner": "421 4.7.0 too many connections from you"},
            "SMTPConnectResponseError: 421 4.7.0 too many connections",
        ),
        ({"MAIL": f"550 5.7.1 {NAME} may not send"}, "SMTPSenderRefused: 550 5.7.1"),
        ({"RCPT": f"550 5.1.1 <{ADDRESS}>: {NAME} is unknown"}, "SMTPRecipientsRefused"),
        ({"dot": f"554 5.6.0 {NAME}, no"}, "SMTPDataError: 554 5.6.0"),
    ],
)
async def test_an_smtp_server_is_repeated_without_the_person_it_speaks_of(script: Script, line: str) -> None:
    async with scripted_smtp(script) as server:
        for send in (_send_with_aiosmtplib, _send_with_smtplib):
            with pytest.raises((aiosmtplib.SMTPException, smtplib.SMTPException)) as raised:
                await send(server.port)
            seen = describe(raised.value)
            assert seen.partition(": ")[2].startswith(line.partition(": ")[2]), seen
            assert not [word for word in PERSONAL if word in seen]


async def _send_with_aiosmtplib(port: int) -> None:
    message = f"Subject: {ADDRESS}\r\n\r\nText"
    await aiosmtplib.send(
        message, sender="me@example.org", recipients=[ADDRESS], hostname="127.0.0.1", port=port, start_tls=False
    )


async def _send_with_smtplib(port: int) -> None:
    def send() -> None:
        with smtplib.SMTP("127.0.0.1", port, timeout=10) as server:
            server.sendmail("me@example.org", [ADDRESS], f"Subject: {ADDRESS}\r\n\r\nText")

    await asyncio.to_thread(send)


async def test_an_http_server_is_repeated_without_the_url_and_the_headers() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 asa.oeberg is not here\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with (
        listening(answer) as port,
        httpx.AsyncClient(base_url=f"http://asa.oeberg:secret@127.0.0.1:{port}") as client,
    ):

        async def ask() -> None:
            (await client.get("/v1/users", params={"email": ADDRESS})).raise_for_status()

        assert await described(ask) == "HTTPStatusError: 404 Not Found"
        headers = {"X-Name": "asa.oeberg\n"}
        assert await described(lambda: client.get("/", headers=headers)) == "LocalProtocolError"
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        with pytest.raises(httpx.ConnectError) as raised:
            await client.get("/")
    assert describe(raised.value) == "ConnectError: Connection refused"
