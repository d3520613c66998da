"""The two API keys of the local stack: the operator's, with every scope, and signup's own for the mail service.

They are minted once and kept. A later start tries each key with one request, and starts a process to register it only
if the service does not know it (an empty or older database was put in place).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from . import commands
from .credentials import Vault
from .ports import LOOPBACK
from .settings import Settings

ALL_SCOPES = {
    "signup": "signups:write users:read users:erase users:import stats:read audit:read audit:operate webhooks:manage",
    "mail": "mails:send mails:read mails:operate mails:all audit:read audit:operate operators:name webhooks:manage",
}
UNKNOWN_KEY = (401, 403)
ANSWER_SECONDS = 10


@dataclass(frozen=True)
class Grant:
    """A key, kept in the vault under `name`, is known to `service` as `client` with `scopes`; `path` proves it."""

    name: str
    service: str
    client: str
    scopes: str
    path: str

    @property
    def record(self) -> str:
        return f"{self.name}@{self.service}"


GRANTS = (
    Grant("OPERATOR_KEY", "signup", "operator", ALL_SCOPES["signup"], "/v1/users?limit=1"),
    Grant("OPERATOR_KEY", "mail", "operator", ALL_SCOPES["mail"], "/v1/mails?limit=1"),
    Grant("MAIL_API_KEY", "mail", "signup", "mails:send mails:read mails:operate", "/v1/mails?limit=1"),
)


async def ensure_minted(settings: Settings, vault: Vault, environment: Mapping[str, str]) -> None:
    """Mint missing keys before the processes start, because signup's need one. `environment` names the databases."""

    async def ensure(name: str) -> None:
        for grant in (grant for grant in GRANTS if grant.name == name):
            if vault.get(grant.record) == grant.scopes:
                continue
            key = vault.get(name)
            if key is None:
                new = await commands.create_key(
                    grant.service, grant.client, grant.scopes, settings.checkout, environment
                )
                vault.keep(name, new)
            else:
                await _register(grant, key, settings, environment)
            vault.keep(grant.record, grant.scopes)

    await commands.together(*(ensure(name) for name in dict.fromkeys(grant.name for grant in GRANTS)))


async def ensure_known(settings: Settings, vault: Vault, environment: Mapping[str, str]) -> None:
    """Once the APIs are ready, register each key that its service does not know."""

    async def ensure(grant: Grant) -> None:
        key = vault.get(grant.name) or ""
        port = settings.ports[f"{grant.service.upper()}_PORT"]
        if await http_status(port, grant.path, key) in UNKNOWN_KEY:
            await _register(grant, key, settings, environment)

    await commands.together(*(ensure(grant) for grant in GRANTS))


async def _register(grant: Grant, key: str, settings: Settings, environment: Mapping[str, str]) -> None:
    await commands.register_key(
        grant.service, grant.client, grant.scopes, key, folder=settings.checkout, environment=environment
    )


async def http_status(port: int, path: str, key: str = "") -> int:
    """The status of a GET on this machine, or 0 without an answer. An HTTP library would take longer to import."""
    authorization = f"Authorization: Bearer {key}\r\n" if key else ""
    request = f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\n{authorization}Connection: close\r\n\r\n"
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            reader, writer = await asyncio.open_connection(LOOPBACK, port)
            try:
                writer.write(request.encode())
                line = await reader.readline()
            finally:
                writer.close()
                await writer.wait_closed()
        return int(line.split()[1])
    except (OSError, TimeoutError, IndexError, ValueError):
        return 0
