"""Reads the evidence of both databases."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from . import queries
from .evidence import Attempt, Effect, Entry, Evidence, Lease, Mail, Outcome, Subscription, Tampering, User


async def read_databases(evidence: Evidence, signup_url: str, mail_url: str) -> None:
    """Fill in what the databases hold; URLs of the owner roles."""
    signup = await asyncpg.connect(signup_url)
    try:
        evidence.users = [User(**_plain(row)) for row in await signup.fetch(queries.USERS)]
        evidence.effects = [Effect(**row) for row in await signup.fetch(queries.EFFECTS)]
        evidence.outcomes = [Outcome(**row) for row in await signup.fetch(queries.OUTCOMES)]
        evidence.statistics = {row["kind"]: row["count"] for row in await signup.fetch(queries.STATISTICS)}
        leases = await signup.fetch(queries.OUTBOX_LEASES)
        subscriptions = await _subscriptions(signup, "signup")
    finally:
        await signup.close()
    mail = await asyncpg.connect(mail_url)
    try:
        evidence.mails = [Mail(**row) for row in await mail.fetch(queries.MAILS)]
        evidence.attempts = [Attempt(**row) for row in await mail.fetch(queries.ATTEMPTS)]
        evidence.entries = [Entry(**row) for row in await mail.fetch(queries.ENTRIES)]
        leases += await mail.fetch(queries.MAIL_LEASES)
        evidence.subscriptions = [*subscriptions, *await _subscriptions(mail, "mail")]
    finally:
        await mail.close()
    evidence.leases = [Lease(**row) for row in leases]


async def tamper(evidence: Evidence, runtime_urls: Mapping[str, str]) -> None:
    """Try to change history as a process could, and keep whether it was refused."""
    found = []
    for service, url in runtime_urls.items():
        connection = await asyncpg.connect(url)
        try:
            found += [Tampering(service, each, await _is_refused(connection, each)) for each in queries.TAMPERING]
        finally:
            await connection.close()
    evidence.tampering = found


async def _is_refused(connection: asyncpg.Connection, statement: str) -> bool:
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(statement)
    except asyncpg.PostgresError:
        return True
    finally:
        await transaction.rollback()
    return False


async def _subscriptions(connection: asyncpg.Connection, service: str) -> list[Subscription]:
    return [
        Subscription(row["id"], service, row["client"], urlsplit(row["url"]).path.strip("/"), tuple(row["events"]))
        for row in await connection.fetch(queries.SUBSCRIBERS)
    ]


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
