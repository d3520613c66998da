"""txoutbox with its defaults (batches of 50, 10 at once) and one POST for each row, in its own virtual environment."""

import os
import sys
import time
from pathlib import Path

import asyncpg
import httpx
import uvloop
from txoutbox import OutboxMessage, Relay  # type: ignore[import-not-found] # in var/bench-venv, not in ours
from txoutbox.adapters.postgres import PostgresStorage  # type: ignore[import-not-found]


async def main(requests: list[str]) -> float:
    """Seconds from the first claim to the last row's settlement."""
    pool = await asyncpg.create_pool(os.environ["DATABASE_URL"])
    outbox = PostgresStorage(pool)
    await outbox.create_schema()
    async with pool.acquire() as connection, connection.transaction():
        for request in requests:
            await outbox.insert(connection, "mail", request)
    headers = {"Authorization": f"Bearer {os.environ['MAIL_API_KEY']}", "Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=os.environ["MAIL_URL"], headers=headers, trust_env=False) as http:

        async def publish(message: OutboxMessage) -> None:
            (await http.post("/v1/mails", content=message.payload)).raise_for_status()

        relay = Relay(outbox, publish)
        began, left = time.perf_counter(), len(requests)
        while left:
            left -= (await relay.run_once()).published
        return time.perf_counter() - began


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    sys.stdout.write(f"{uvloop.run(main(lines))}\n")
