"""The attachments of a mail, for its client: one of them, read piece by piece."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from shared.contract.attachments import MAX_ATTACHMENTS
from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.contract.problems import NotFound
from shared.db.pool import Database

from ..errors import AttachmentGone
from . import attachment_queries as queries
from .listing import client_scope

# So much of a download is in memory at a time, however slowly its client reads.
_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    sha256: bytes
    filename: str
    content_type: str
    size: int


async def find_attachment(database: Database, principal: Principal, mail_id: UUID, n: int) -> StoredAttachment:
    """The attachment with this number, from 0.

    Raises:
        NotFound: there is no such mail, it belongs to another client, or it never had so many attachments.
        AttachmentGone: it was wiped with the mail's content.
    """
    if not 0 <= n < MAX_ATTACHMENTS:
        raise NotFound("There is no such attachment.")
    row = await database.pool.fetchrow(queries.FIND_ATTACHMENT, mail_id, client_scope(principal), n)
    if row is None:
        raise NotFound("There is no such mail.")
    if row["sha256"] is None:
        raise NotFound("There is no such attachment.") if row["has_content"] else AttachmentGone()
    return StoredAttachment(row["sha256"], row["filename"], row["content_type"], row["size"])


async def read_pieces(database: Database, attachment: StoredAttachment) -> AsyncIterator[bytes]:
    """The bytes. No transaction is open while a client reads them.

    Raises:
        AttachmentGone: they were wiped in the meantime.
    """
    for start in range(0, attachment.size, _PIECE_BYTES):
        piece = await database.pool.fetchval(queries.READ_PIECE, attachment.sha256, start + 1, _PIECE_BYTES)
        if piece is None:
            raise AttachmentGone
        yield piece
