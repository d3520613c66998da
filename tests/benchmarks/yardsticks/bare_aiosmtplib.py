"""Bare aiosmtplib: sends the same messages, built beforehand, on connections that stay open."""

import asyncio
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import aiosmtplib
import uvloop

from services.mail.delivery.message import Content, build
from shared.contract.ids import uuid7
from tests.benchmarks.product import rendered_mail

SENDER = "no-reply@counterfoil.test"


def messages(count: int) -> Iterator[tuple[str, bytes]]:
    rendered = rendered_mail()
    for _ in range(count):
        mail_id = uuid7()
        to = f"{mail_id.hex}@example.test"
        content = Content(
            mail_id, f"<{mail_id}@counterfoil.test>", datetime.now(UTC), to, None, SENDER, "Counterfoil", None, None,
            "Please confirm your address", rendered.text, rendered.html, {},
        )  # fmt: skip
        yield to, build(content)


async def main(port: int, count: int, connections: int) -> float:
    """Seconds for `count` mails."""
    left = list(messages(count))
    clients = [aiosmtplib.SMTP(hostname="127.0.0.1", port=port, start_tls=False) for _ in range(connections)]
    for client in clients:
        await client.connect()

    async def send(client: aiosmtplib.SMTP) -> None:
        while left:
            to, message = left.pop()
            await client.sendmail(SENDER, [to], message)

    began = time.perf_counter()
    await asyncio.gather(*(send(client) for client in clients))
    seconds = time.perf_counter() - began
    for client in clients:
        await client.quit()
    return seconds


if __name__ == "__main__":
    sys.stdout.write(f"{uvloop.run(main(*(int(number) for number in sys.argv[1:4])))}\n")
