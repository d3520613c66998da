"""procrastinate, as its documentation shows it: `with_procrastinate.py schema | ask TAG COUNT RATE WRITERS | worker`.

Jobs send one mail each, 8 at once, over connections of their own, are tried again when they fail, and the documented
periodic task puts back those of workers that were lost.
"""

import asyncio
import os
import sys
import time
from email.message import EmailMessage

import aiosmtplib
import procrastinate

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["DATABASE_URL"], max_size=40))


@app.task(name="send", retry=procrastinate.RetryStrategy(exponential_wait=2))  # type: ignore[untyped-decorator]
async def send(recipient: str) -> None:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "no-reply@bench.example", recipient, "Hello"
    message.set_content("Hello\n")
    await aiosmtplib.send(message, hostname="127.0.0.1", port=int(os.environ["SMTP_PORT"]), start_tls=False)


@app.periodic(cron="* * * * *")  # type: ignore[untyped-decorator]
@app.task(queueing_lock="retry_stalled_jobs", pass_context=True)  # type: ignore[untyped-decorator]
async def retry_stalled_jobs(_context: procrastinate.JobContext, timestamp: int) -> None:
    del timestamp
    for job in await app.job_manager.get_stalled_jobs():
        await app.job_manager.retry_job(job)


async def ask(tag: str, count: int, rate: float, writers: int) -> None:
    began, numbers = time.monotonic(), iter(range(count))

    async def write() -> None:
        for number in numbers:
            if rate:
                await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            await send.defer_async(recipient=f"{tag}-{number}@bench.example")

    await asyncio.gather(*(write() for _ in range(writers)))


async def main(role: str, *arguments: str) -> None:
    async with app.open_async():
        if role == "schema":
            await app.schema_manager.apply_schema_async()
        elif role == "ask":
            tag, count, rate, writers = arguments
            await ask(tag, int(count), float(rate), int(writers))
        else:
            await app.run_worker_async(concurrency=8, install_signal_handlers=True, delete_jobs="successful")


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
