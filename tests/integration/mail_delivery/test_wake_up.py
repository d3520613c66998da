"""A wake-up is a hint: it reaches the listener, and its commit does not wait for the disk."""

import asyncio

import asyncpg

from shared.worker.wakeups import PING
from tests.support.databases import Clone


async def test_a_wake_up_arrives_and_only_its_own_commit_does_not_wait_for_the_disk(mail_database: Clone) -> None:
    arrived = asyncio.Event()
    listener = await asyncpg.connect(mail_database.runtime_url)
    await listener.add_listener("a_channel", lambda *_: arrived.set())
    setting = "SHOW synchronous_commit"
    async with mail_database.database.pool.acquire() as connection:
        await connection.execute("SET synchronous_commit = on")  # the server of the tests has it off
        async with connection.transaction():
            await connection.execute(PING, "a_channel")
            assert await connection.fetchval(setting) == "off"
        assert await connection.fetchval(setting) == "on"
    async with asyncio.timeout(60):
        await arrived.wait()
    await listener.close()
