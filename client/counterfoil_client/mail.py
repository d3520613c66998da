"""The mail service: `Mail` blocks, `AsyncMail` runs on asyncio. Both perform the same plans (`mail_plans.py`)."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from datetime import datetime
from typing import Self, Unpack
from uuid import UUID

import httpx

from .drivers import AsyncDriver, Driver, http_options
from .mail_fields import MailFields, MailFilters, NewMail
from .mail_plans import MAX_PAGE, MailPlans
from .records import BatchResult, Change, LookUp, MailRecord
from .retrying import Exchange, Repeat, Retry, Timing


class Mail:
    """A client of the mail service. It keeps its connections, may be shared by threads, and is closed at the end.

    `transport`, `timing` and `sleep` are for tests. Every call raises ApiError when the service refuses, and
    TransportError when it has given no verdict before the deadline.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        retry: Retry | None = None,
        on_repeat: Callable[[Repeat], None] | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
        timing: Timing | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        http = httpx.Client(transport=transport, **http_options(url, api_key=api_key, verify=verify))
        self._driver = Driver(http, sleep)
        self._plans = MailPlans(Exchange(retry or Retry(), timing or Timing(), on_repeat))

    def send(self, *, request_id: str, deadline_seconds: float | None = None, **mail: Unpack[MailFields]) -> MailRecord:
        """Ask for one mail. The same request ID never sends a second one, so this is repeated until it is answered.

        `request_id` is the caller's own name for this mail; derive it from a key of your own with `request_id()`, and
        use the same one whenever you ask for this mail again. `replayed` says that it was used before.

        Raises:
            RequestIdReused: the ID was used for a mail with other content; `fields` says where.
            InvalidRequest: something is wrong in `fields`. Nothing is left behind, and the ID is still unused.
            BadRequestId, TypeError, ValueError: before anything was sent.
        """
        return self._driver.run(self._plans.send(request_id, mail, deadline_seconds))

    def send_once(
        self, *, request_id: str, deadline_seconds: float | None = None, **mail: Unpack[MailFields]
    ) -> MailRecord:
        """As `send`. After a lost answer it asks the ledger (scope `mails:read`) whether the mail is there, and sends
        again only if it is not: for large mails, and where sending is slower than asking.
        """
        return self._driver.run(self._plans.send_once(request_id, mail, deadline_seconds))

    def send_batch(self, mails: Iterable[NewMail], *, deadline_seconds: float | None = None) -> list[BatchResult]:
        """Ask for any number of mails, 500 a call. Results are in order; a bad mail spoils only itself.

        When this raises, some mails may have been accepted. Give all of them again: those are answered `replayed`.
        """
        return self._driver.run(self._plans.send_batch(mails, deadline_seconds))

    def look_up(self, request_ids: Iterable[str]) -> LookUp:
        """What the ledger has under these request IDs."""
        return self._driver.run(self._plans.look_up(request_ids))

    def sent(self, request_ids: Iterable[str]) -> dict[str, datetime]:
        """Those of the request IDs whose mail a gateway accepted (250), and when."""
        return self._driver.run(self._plans.sent(request_ids))

    def find(self, request_id: str) -> MailRecord | None:
        """The mail with this request ID."""
        return self._driver.run(self._plans.find(request_id))

    def get(self, mail_id: UUID | str) -> MailRecord:
        """The mail with this ID of the service's own."""
        return self._driver.run(self._plans.get(mail_id))

    def mails(self, **filters: Unpack[MailFilters]) -> Iterator[MailRecord]:
        """All mails that match, newest first, read page by page."""
        return self._driver.iterate(self._plans.mails(filters))

    def wait_until_sent(
        self, request_id: str, *, timeout_seconds: float = 60.0, poll_seconds: float = 0.5
    ) -> MailRecord:
        """The mail, once a gateway has accepted it.

        Raises:
            NotSent: it will not be sent any more, or an operator must decide about it first.
            UnknownRequestId: nothing was ever asked for under this ID.
            DeadlineExceeded: it still waits.
        """
        return self._driver.run(self._plans.wait_until_sent(request_id, timeout_seconds, poll_seconds))

    def follow(
        self,
        cursor: str | None = None,
        *,
        wait: bool = True,
        poll_seconds: float = 1.0,
        start_again: bool = False,
        page_size: int = MAX_PAGE,
    ) -> Iterator[Change]:
        """Every state change of the client's mails after `cursor`, oldest first, at least once.

        Store `change.cursor` in the commit that handles the change, and begin with it after a restart: no change is
        missed, and those of the page in progress come again. With `wait` this never ends and waits out outages;
        without, it ends with the last change. The cursor is kept by the caller alone.

        Raises:
            CursorLost: the feed no longer has the change behind the cursor. With `start_again` it begins anew instead.
        """
        plan = self._plans.follow(
            cursor, wait=wait, poll_seconds=poll_seconds, start_again=start_again, page_size=page_size
        )
        return self._driver.iterate(plan)

    def cancel(self, mail_id: UUID | str) -> MailRecord:
        """Take a waiting mail out of the queue (scope `mails:operate`). A lost answer is not repeated but raised.

        Raises:
            WrongState: it does not wait any more.
        """
        return self._driver.run(self._plans.cancel(mail_id))

    def close(self) -> None:
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncMail:
    """`Mail` on asyncio: the same methods, awaited, and `async for` over `mails` and `follow`."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str,
        retry: Retry | None = None,
        on_repeat: Callable[[Repeat], None] | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
        timing: Timing | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        http = httpx.AsyncClient(transport=transport, **http_options(url, api_key=api_key, verify=verify))
        self._driver = AsyncDriver(http, sleep)
        self._plans = MailPlans(Exchange(retry or Retry(), timing or Timing(), on_repeat))

    async def send(
        self, *, request_id: str, deadline_seconds: float | None = None, **mail: Unpack[MailFields]
    ) -> MailRecord:
        """See `Mail.send`."""
        return await self._driver.run(self._plans.send(request_id, mail, deadline_seconds))

    async def send_once(
        self, *, request_id: str, deadline_seconds: float | None = None, **mail: Unpack[MailFields]
    ) -> MailRecord:
        """See `Mail.send_once`."""
        return await self._driver.run(self._plans.send_once(request_id, mail, deadline_seconds))

    async def send_batch(self, mails: Iterable[NewMail], *, deadline_seconds: float | None = None) -> list[BatchResult]:
        """See `Mail.send_batch`."""
        return await self._driver.run(self._plans.send_batch(mails, deadline_seconds))

    async def look_up(self, request_ids: Iterable[str]) -> LookUp:
        """See `Mail.look_up`."""
        return await self._driver.run(self._plans.look_up(request_ids))

    async def sent(self, request_ids: Iterable[str]) -> dict[str, datetime]:
        """See `Mail.sent`."""
        return await self._driver.run(self._plans.sent(request_ids))

    async def find(self, request_id: str) -> MailRecord | None:
        """See `Mail.find`."""
        return await self._driver.run(self._plans.find(request_id))

    async def get(self, mail_id: UUID | str) -> MailRecord:
        """See `Mail.get`."""
        return await self._driver.run(self._plans.get(mail_id))

    def mails(self, **filters: Unpack[MailFilters]) -> AsyncIterator[MailRecord]:
        """See `Mail.mails`."""
        return self._driver.iterate(self._plans.mails(filters))

    async def wait_until_sent(
        self, request_id: str, *, timeout_seconds: float = 60.0, poll_seconds: float = 0.5
    ) -> MailRecord:
        """See `Mail.wait_until_sent`."""
        return await self._driver.run(self._plans.wait_until_sent(request_id, timeout_seconds, poll_seconds))

    def follow(
        self,
        cursor: str | None = None,
        *,
        wait: bool = True,
        poll_seconds: float = 1.0,
        start_again: bool = False,
        page_size: int = MAX_PAGE,
    ) -> AsyncIterator[Change]:
        """See `Mail.follow`."""
        plan = self._plans.follow(
            cursor, wait=wait, poll_seconds=poll_seconds, start_again=start_again, page_size=page_size
        )
        return self._driver.iterate(plan)

    async def cancel(self, mail_id: UUID | str) -> MailRecord:
        """See `Mail.cancel`."""
        return await self._driver.run(self._plans.cancel(mail_id))

    async def close(self) -> None:
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
