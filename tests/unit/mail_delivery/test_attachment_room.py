"""So many bytes of attachments are in memory at once, each mail in its turn."""

import asyncio

from services.mail.delivery.attachments import Room


class _Mail:
    def __init__(self, room: Room, size: int) -> None:
        self.is_in = False
        self._go = asyncio.Event()
        self.task = asyncio.ensure_future(self._stay(room, size))

    async def _stay(self, room: Room, size: int) -> None:
        async with room.of(size):
            self.is_in = True
            await self._go.wait()
        self.is_in = False

    async def leave(self) -> None:
        self._go.set()
        await self.task
        await _settle()

    async def cancel(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        await _settle()


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def _mails(room: Room, *sizes: int) -> list[_Mail]:
    mails = [_Mail(room, size) for size in sizes]
    await _settle()
    return mails


async def test_mails_enter_while_there_is_room_and_in_their_order() -> None:
    room = Room(10)
    first, second, large, small = await _mails(room, 4, 6, 7, 1)
    assert [mail.is_in for mail in (first, second, large, small)] == [True, True, False, False]
    await first.leave()
    assert (large.is_in, small.is_in, room.waiting) == (False, False, 2), "the small one does not overtake"
    await second.leave()
    assert (large.is_in, small.is_in, room.waiting) == (True, True, 0)
    await large.leave()
    await small.leave()


async def test_a_mail_larger_than_the_room_has_it_alone() -> None:
    room = Room(10)
    huge, next_huge, small = await _mails(room, 50, 50, 1)
    assert (huge.is_in, next_huge.is_in, small.is_in) == (True, False, False)
    await huge.leave()
    assert (next_huge.is_in, small.is_in) == (True, False)
    await next_huge.leave()
    await small.leave()


async def test_a_mail_that_is_canceled_leaves_no_gap() -> None:
    room = Room(10)
    inside, waiting, behind = await _mails(room, 10, 10, 10)
    await waiting.cancel()
    assert room.waiting == 1
    await inside.cancel()
    assert behind.is_in
    await behind.leave()
    (last,) = await _mails(room, 10)
    assert last.is_in
    await last.leave()


async def test_a_mail_that_is_canceled_as_its_turn_comes_gives_it_to_the_next() -> None:
    room = Room(10)
    inside, chosen, behind = await _mails(room, 10, 10, 10)
    inside._go.set()
    while room.waiting == 2:  # noqa: ASYNC110 - until its turn has come, and it has not woken yet
        await asyncio.sleep(0)
    await chosen.cancel()
    assert behind.is_in
    await behind.leave()


async def test_mails_that_are_canceled_together_all_end_as_canceled() -> None:
    room = Room(10)
    mails = await _mails(room, 10, 10, 10)
    for mail in mails:
        mail.task.cancel()
    await asyncio.wait([mail.task for mail in mails])
    assert [mail.task.cancelled() for mail in mails] == [True] * 3
    (last,) = await _mails(room, 10)
    assert last.is_in
    await last.leave()
