"""A gateway that may deduplicate by a header, as Resend does, and that loses replies: it counts the copies it sends."""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from .delivery import IDEMPOTENCY_HEADER
from .scripted_smtp import Act, Misbehavior, Received, ScriptedSmtp, scripted_smtp


@dataclass(frozen=True)
class Loss:
    """The reply to a dot is lost. `taken`: the gateway has the mail all the same."""

    taken: bool
    # Called in place of the reply, for a worker that dies then.
    instead: Callable[[], None] = lambda: None


@dataclass
class Provider:
    """What the gateway took, by recipient. `lose` is asked at each dot."""

    smtp: ScriptedSmtp
    deduplicates: bool
    lose: Callable[[Received], Loss | None]
    copies: Counter[str] = field(default_factory=Counter)
    keys: dict[str, str] = field(default_factory=dict)  # by key, the recipient

    def answer(self, mail: Received) -> Act:
        loss = self.lose(mail)
        if loss is None or loss.taken:
            self._take(mail)
        if loss is None:
            return "250 2.0.0 taken"
        loss.instead()
        return Misbehavior.DROP

    def _take(self, mail: Received) -> None:
        key = key_in(mail.data)
        if self.deduplicates and key is not None:
            if key in self.keys:
                assert self.keys[key] == mail.recipient
                return
            self.keys[key] = mail.recipient
        self.copies[mail.recipient] += 1


def key_in(data: bytes) -> str | None:
    """The key in the header of a message."""
    for line in data.partition(b"\r\n\r\n")[0].decode().split("\r\n"):
        name, _, value = line.partition(": ")
        if name == IDEMPOTENCY_HEADER:
            return value
    return None


def never(_mail: Received) -> None:
    """No reply is lost."""


def once(*, taken: bool) -> Callable[[Received], Loss | None]:
    """The first reply is lost."""
    losses = iter([Loss(taken)])
    return lambda _mail: next(losses, None)


@asynccontextmanager
async def provider(
    lose: Callable[[Received], Loss | None] = never, *, deduplicates: bool = True
) -> AsyncIterator[Provider]:
    """A server on loopback for the length of the block."""
    async with scripted_smtp() as smtp:
        opened = Provider(smtp, deduplicates, lose)
        smtp.on_dot = opened.answer
        yield opened
