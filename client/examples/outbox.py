"""An outbox of one's own: a mail is owed in the commit that causes it, and asked for afterwards, once. Copy it.

Run `relay_once` in a loop, in as many processes as you like. The request ID comes from the row, so a relay that ends
before it has settled, or is overtaken by another one, asks for the same mail again and gets the same answer.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import JSON, DateTime, Row, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from counterfoil_client import AsyncMail, MailFields, NewMail, errors, request_id

LEASE = timedelta(seconds=60)  # longer than the deadline of a call, 30 s


class Model(DeclarativeBase):
    pass


class Order(Model):
    __tablename__ = "orders"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str]


class OwedMail(Model):
    __tablename__ = "owed_mails"
    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    content: Mapped[MailFields] = mapped_column(JSON)
    due_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=func.now())
    refused: Mapped[str | None]  # why; a person must look at it


def place_order(session: AsyncSession, email: str) -> None:
    """The caller commits: the order and its mail, or neither."""
    session.add(Order(email=email))
    session.add(OwedMail(content={"to": email, "subject": "Your order", "text": "Thank you."}))


async def relay_once(sessions: async_sessionmaker[AsyncSession], mail: AsyncMail) -> int:
    """Claim, commit, ask, settle: no transaction is open while the mail service is asked. Returns how many it asked."""
    due = select(OwedMail.id).where(OwedMail.due_at <= func.now(), OwedMail.refused.is_(None))
    due = due.order_by(OwedMail.due_at).limit(100).with_for_update(skip_locked=True)
    claim = update(OwedMail).where(OwedMail.id.in_(due)).values(due_at=func.now() + LEASE)
    async with sessions.begin() as session:
        claimed = await session.execute(claim.returning(OwedMail.id, OwedMail.content))
        rows: Sequence[Row[UUID, MailFields]] = claimed.all()
    mails: list[NewMail] = [{"request_id": request_id("order", row_id), **content} for row_id, content in rows]
    results = await mail.send_batch(mails)
    async with sessions.begin() as session:
        for (row_id, _), result in zip(rows, results, strict=True):
            if result.error is None:
                await session.execute(delete(OwedMail).where(OwedMail.id == row_id))
            elif not isinstance(result.error, errors.ServerFault):
                await session.execute(update(OwedMail).where(OwedMail.id == row_id).values(refused=str(result.error)))
    return len(rows)
