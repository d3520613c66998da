"""Waits until everything that signups owe is done, at little cost for the servers that are being measured."""

import asyncio
import time

import asyncpg

from .product import Product

_POLL_SECONDS = 0.1
# In the order in which they come true. The last compares two databases: both books know the same mails as sent.
_OWED = "SELECT NOT EXISTS (SELECT FROM outbox WHERE state <> 'dead')"
_QUEUED = "SELECT NOT EXISTS (SELECT FROM queue)"
_SENT = "SELECT count(*) FROM mails WHERE client = 'signup' AND sent_at IS NOT NULL"
_FOLLOWED = "SELECT count(*) FROM mail_outcomes WHERE sent_at IS NOT NULL"
_MAILED = """
SELECT ARRAY[count(*), extract(epoch FROM max(ended_at))]::float8[] FROM attempts
WHERE outcome = 'accepted' AND ended_at >= to_timestamp($1::float8)
"""


def await_settled(product: Product, seconds: float) -> None:
    """Wait until all effects are settled, all mails sent, and signup's own book knows of it.

    Raises:
        TimeoutError: that took longer than `seconds`.
    """
    asyncio.run(_await_settled(product, seconds))


async def _await_settled(product: Product, seconds: float) -> None:
    signup, mail = [await asyncpg.connect(product.url(service)) for service in ("signup", "mail")]
    deadline = time.monotonic() + seconds
    try:
        while not (
            await signup.fetchval(_OWED)
            and await mail.fetchval(_QUEUED)
            and await mail.fetchval(_SENT) == await signup.fetchval(_FOLLOWED)
        ):
            if time.monotonic() > deadline:
                raise TimeoutError(f"Mails are still on their way after {seconds:g} s")
            await asyncio.sleep(_POLL_SECONDS)
    finally:
        await signup.close()
        await mail.close()


def mailed_since(product: Product, began: float) -> tuple[int, float]:
    """How many mails the gateway accepted since `began`, and when the last of them was: seconds since 1970.

    Raises:
        RuntimeError: there was none.
    """
    count, last = product.fetchval("mail", _MAILED, began)
    if not count:
        raise RuntimeError("No mail was sent")
    return int(count), last
