"""The operations port of a real API process: a second listener beside the public one."""

import asyncio
import contextlib
import os
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest
from pydantic import ValidationError

from local.ports import pick_free
from services.mail.settings import Settings as MailSettings
from services.signup.settings import Settings as SignupSettings
from tests.support.databases import ROOT, Clone
from tests.support.stack import eventually

# Another address of this machine: whoever reaches it is not on loopback's 127.0.0.1.
ELSEWHERE = "127.0.0.2"
BODY = b'{"email": "asa@example.org", "name": "Asa"}'


@dataclass(frozen=True)
class RunningApi:
    process: asyncio.subprocess.Process
    port: int
    operations_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def operations_url(self) -> str:
        return f"http://127.0.0.1:{self.operations_port}"

    async def stop(self) -> str:
        """Its output, after SIGTERM."""
        with contextlib.suppress(ProcessLookupError):
            self.process.terminate()
        output, _ = await self.process.communicate()
        return output.decode()


async def start(database: Clone, **settings: str) -> RunningApi:
    service = database.owner_url.rpartition("/")[2].partition("_")[0]
    port, operations_port = pick_free(), int(settings.get("OPERATIONS_PORT", pick_free()))
    prefixed = settings | {"PORT": str(port), "OPERATIONS_PORT": str(operations_port)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"services.{service}", "api"),
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}},
            **{f"{service.upper()}_{name}": value for name, value in prefixed.items()},
            f"{service.upper()}_RUNTIME_DATABASE_URL": database.runtime_url,
            "REDIS_URL": "redis://127.0.0.1:1/0",
            "SIGNUP_TOKEN_KEYS": "k" * 32,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return RunningApi(process, port, operations_port)


@contextlib.asynccontextmanager
async def ready(database: Clone, **settings: str) -> AsyncIterator[tuple[RunningApi, httpx.AsyncClient]]:
    api = await start(database, **settings)
    try:
        async with httpx.AsyncClient() as http:
            await eventually(lambda: http.get(f"{api.url}/health/ready"), lambda answer: answer.is_success, what="API")
            yield api, http
    finally:
        await api.stop()


async def reaches(host: str, port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True


async def test_the_operations_port_listens_on_loopback_and_tells_what_the_public_port_does_not(
    either_database: Clone,
) -> None:
    async with ready(either_database) as (api, http):
        assert (await http.get(f"{api.url}/metrics")).status_code == 401
        assert "_database_up 1.0" in (await http.get(f"{api.operations_url}/metrics")).text
        assert (await http.get(f"{api.url}/health")).json().keys() == {"status"}
        assert (await http.get(f"{api.operations_url}/health")).json().keys() == {"status", "checks"}
        assert not await reaches(ELSEWHERE, api.operations_port)
    assert not await reaches("127.0.0.1", api.operations_port), "it ends with the API"


async def test_the_operations_port_listens_where_its_host_setting_says(signup_database: Clone) -> None:
    async with ready(signup_database, OPERATIONS_HOST=ELSEWHERE) as (api, http):
        assert (await http.get(f"http://{ELSEWHERE}:{api.operations_port}/health/live")).is_success
        assert not await reaches("127.0.0.1", api.operations_port)


async def test_the_operations_port_answers_while_the_api_finishes_its_requests(signup_database: Clone) -> None:
    async with ready(signup_database) as (api, http):
        reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
        head = "POST /v1/signups HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:5])
        await writer.drain()
        metrics = f"{api.operations_url}/metrics"
        await eventually(lambda: http.get(metrics), lambda answer: answer.is_success, what="the request has arrived")
        api.process.terminate()

        async def drains() -> bool:
            return not await reaches("127.0.0.1", api.port)

        await eventually(drains, bool, what="no new connections")
        assert (await http.get(f"{api.operations_url}/health")).json()["checks"]["database"]["status"] == "pass"
        writer.write(BODY[5:])
        assert (await reader.read()).startswith(b"HTTP/1.1 202")
        writer.close()
        assert "Traceback" not in await api.stop()


async def test_a_taken_operations_port_stops_the_start_and_is_named(signup_database: Clone) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        api = await start(signup_database, OPERATIONS_PORT=str(port))
        output, _ = await api.process.communicate()
    assert api.process.returncode == 2
    named = f"signup cannot start: SIGNUP_OPERATIONS_PORT={port} cannot be opened at SIGNUP_OPERATIONS_HOST=127.0.0.1"
    assert output.decode().splitlines()[-1].startswith(named)


def test_one_port_for_both_listeners_is_refused_and_both_settings_are_named() -> None:
    with pytest.raises(ValidationError, match="SIGNUP_OPERATIONS_PORT=9001 must differ from SIGNUP_PORT"):
        SignupSettings(signup_port=9001, signup_operations_port=9001)
    with pytest.raises(ValidationError, match="MAIL_OPERATIONS_PORT=9001 must differ from MAIL_PORT"):
        MailSettings(mail_port=9001, mail_operations_port=9001)


def test_there_is_no_operations_port_unless_one_is_set() -> None:
    assert (SignupSettings().signup_operations_port, MailSettings().mail_operations_port) == (0, 0)
