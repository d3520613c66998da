"""A client that is killed between its dot and the answer affects no other mail."""

import asyncio
import contextlib
from pathlib import Path

from local.mail_catcher.message import Envelope
from local.mail_catcher.store import Store

ENVELOPE = Envelope("a@x.example", ("b@x.example",))


async def test_the_next_mail_is_kept_although_an_earlier_sender_vanished(tmp_path: Path) -> None:
    store = Store(tmp_path / "mails.sqlite3")
    try:
        for _ in range(20):
            waiting = asyncio.ensure_future(store.add(b"Subject: lost\r\n\r\n", ENVELOPE))
            await asyncio.sleep(0)  # now the writing thread has it
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await waiting
        async with asyncio.timeout(60):
            await store.add(b"Subject: kept\r\n\r\n", ENVELOPE)
    finally:
        store.close()
