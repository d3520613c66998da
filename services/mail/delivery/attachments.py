"""Sends mails with attachments: the bytes are read when a mail's turn comes, and so many of them are in memory at once.

Each lane has room of its own, and a bulk mail that waits for room takes no slot of the delivery loop. So live mails
wait for no more bulk bytes than fit in that room.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from shared.db.pool import UNAVAILABLE, Pool

from . import queries
from .claim import ClaimedMail
from .gateways.protocol import BodySupplier
from .message import build
from .mime_parts import AttachedFile
from .smtp_outcomes import Verdict, own_fault

# Bytes before base64. A mail needs about four times as much while it is built, and three times while it is sent.
_LIVE_BYTES = 20 << 20
_BULK_BYTES = 10 << 20

Offer: TypeAlias = Callable[[BodySupplier], Awaitable[tuple[str | None, Verdict]]]


class Room:
    """Room for so many bytes. Each waits for those before it; one that is larger than the room has it alone."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._used_bytes = 0
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._line)

    @asynccontextmanager
    async def of(self, size: int) -> AsyncIterator[None]:
        """Room for `size` bytes, for the length of the block."""
        turn = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        self._admit()
        try:
            await turn
            yield
        finally:
            if turn.done() and not turn.cancelled():
                self._used_bytes -= size
            elif (size, turn) in self._line:  # `_admit` has passed over it when many are canceled at once
                self._line.remove((size, turn))
            self._admit()

    def _admit(self) -> None:
        while self._line:
            size, turn = self._line[0]
            if self._used_bytes and self._used_bytes + size > self._most_bytes:
                return
            self._line.popleft()
            if not turn.done():
                self._used_bytes += size
                turn.set_result(None)


class AttachmentSender:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._rooms = {"live": Room(_LIVE_BYTES), "bulk": Room(_BULK_BYTES)}

    @property
    def bulk_waiting(self) -> int:
        """Bulk mails that wait for room: they hold a lease, but no connection and few bytes."""
        return self._rooms["bulk"].waiting

    async def send(self, mail: ClaimedMail, offer: Offer) -> tuple[str | None, Verdict]:
        """`offer` the mail with its attachments to the gateways, when there is room.

        Raises:
            UnbuildableError: the message cannot be built.
        """
        async with self._rooms[mail.lane].of(mail.attached_bytes):
            try:
                rows = await self._pool.fetch(queries.READ_ATTACHMENTS, mail.mail_id)
            except UNAVAILABLE:
                return None, own_fault("the attachments could not be read", offered=False)
            files = [
                AttachedFile(row["filename"], row["content_type"], row["content_id"], row["bytes"]) for row in rows
            ]
            if sum(len(file.data) for file in files) != mail.attached_bytes:
                # The person was erased after the claim. The next claim closes the mail.
                return None, own_fault("the attachments were wiped", offered=False)
            del rows
            message = await asyncio.to_thread(build, mail.content, files)
            files.clear()
            return await offer(lambda: message)
