"""pgqueuer, as its documentation shows it: `with_pgqueuer.py schema | ask TAG COUNT RATE WRITERS | worker`.

Jobs send one mail each, 8 at once, over connections of their own, and are tried again when they fail.
"""

import asyncio
import os
import signal
import sys
import time
from email.message import EmailMessage

import aiosmtplib
import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.executors import DatabaseRetryEntrypointExecutor
from pgqueuer.models import Job
from pgqueuer.queries import Queries

URL = os.environ["DATABASE_URL"]


async def schema() -> None:
    connection = await asyncpg.connect(URL)
    await Queries(AsyncpgDriver(connection)).install()
    await connection.close()


async def ask(tag: str, count: int, rate: float, writers: int) -> None:
    began, numbers = time.monotonic(), iter(range(count))

    async def write() -> None:
        connection = await asyncpg.connect(URL)
        queries = Queries(AsyncpgDriver(connection))
        for number in numbers:
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await queries.enqueue("send", f"{tag}-{number}@bench.example".encode())
        await connection.close()

    await asyncio.gather(*(write() for _ in range(writers)))


async def work() -> None:
    pgq = PgQueuer(AsyncpgDriver(await asyncpg.connect(URL)))

    @pgq.entrypoint("send", concurrency_limit=8, executor_factory=DatabaseRetryEntrypointExecutor)  # type: ignore[untyped-decorator]
    async def send(job: Job) -> None:
        message = EmailMessage()
        message["From"], message["To"] = "no-reply@bench.example", (job.payload or b"").decode()
        message["Subject"] = "Hello"
        message.set_content("Hello\n")
        await aiosmtplib.send(message, hostname="127.0.0.1", port=int(os.environ["SMTP_PORT"]), start_tls=False)

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, pgq.shutdown.set)
    await pgq.run()


async def main(role: str, *arguments: str) -> None:
    if role == "schema":
        await schema()
    elif role == "ask":
        tag, count, rate, writers = arguments
        await ask(tag, int(count), float(rate), int(writers))
    else:
        await work()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
