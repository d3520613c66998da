"""The calls of the mail service, as plans. `mail.py` gives them their public faces."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from .answers import read
from .errors import CursorLost, DeadlineExceeded, Forbidden, LostAnswer, NotSent, UnknownRequestId
from .mail_fields import encoded, encoded_mail, query
from .problems import timestamp
from .records import (
    BatchResult,
    Change,
    Json,
    LookUp,
    LostRecord,
    MailRecord,
    read_change,
    read_look_up,
    read_mail,
    read_result,
)
from .request_ids import checked
from .retrying import NEVER, Exchange
from .steps import Answer, Call, Emit, Pause, Plan, Stream

MAX_BATCH = 500
MAX_LOOKUP = 1000
# The service takes 16 MiB.
_MAX_BATCH_BYTES = 8 << 20
MAX_PAGE = 500

# The service's Date is in whole seconds, and it is not the clock that `accepted_at` comes from.
_CLOCKS_DIFFER_SECONDS = 2.0


class MailPlans:
    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def send(self, request_id: str, fields: Mapping[str, Any], deadline_seconds: float | None) -> Plan[MailRecord]:
        """Ask again under the same ID until there is a verdict."""
        call = Call("POST", "/v1/mails", body=encoded_mail(request_id, fields))
        answer = yield from self._exchange.ask(call, self._exchange.deadline(deadline_seconds))
        return _accepted(answer)

    def send_once(self, request_id: str, fields: Mapping[str, Any], deadline_seconds: float | None) -> Plan[MailRecord]:
        """As `send`, but after a lost answer the ledger is asked first whether the mail is there."""
        call = Call("POST", "/v1/mails", body=encoded_mail(request_id, fields))
        began_at = self._exchange.timing.clock()
        deadline = self._exchange.deadline(deadline_seconds)
        attempt = 0
        while True:
            attempt += 1
            try:
                return _accepted((yield from self._exchange.ask(call, deadline, repeats_lost=False)))
            except LostAnswer as error:
                lost = error
            mail = yield from self._accepted_since(began_at, request_id, deadline)
            if mail is not None:
                return mail
            yield from self._exchange.pause(call, attempt, deadline, lost)

    def _accepted_since(self, began_at: float, request_id: str, deadline: float) -> Plan[MailRecord | None]:
        """The mail, when the ledger accepted it since then. None: send again, which is safe and has a verdict.

        An older mail under this ID may have other content, and only the service can compare: it must be asked.
        """
        try:
            answer = yield from self._exchange.ask(_look_up_call([request_id]), deadline)
        except Forbidden:  # the key may only send
            return None
        except DeadlineExceeded as error:
            raise DeadlineExceeded(str(error), may_have_arrived=True) from error.__cause__
        mail = read(answer, read_look_up).found.get(request_id)
        if mail is None or (now := timestamp(answer.headers.get("date", ""))) is None:
            return None
        elapsed = self._exchange.timing.clock() - began_at
        return mail if now - mail.accepted_at.timestamp() <= elapsed + _CLOCKS_DIFFER_SECONDS else None

    def send_batch(self, mails: Iterable[Mapping[str, Any]], deadline_seconds: float | None) -> Plan[list[BatchResult]]:
        """One result for each mail, in order. One call for every 500 of them."""
        encoded_mails = []
        for mail in mails:
            if "request_id" not in mail:
                raise TypeError("A mail needs `request_id`")
            fields = {name: value for name, value in mail.items() if name != "request_id"}
            encoded_mails.append((mail["request_id"], encoded_mail(mail["request_id"], fields)))
        deadline = self._exchange.deadline(deadline_seconds)
        results: list[BatchResult] = []
        for chunk in _chunks(encoded_mails):
            body = b'{"mails":[' + b",".join(mail for _, mail in chunk) + b"]}"
            answer = yield from self._exchange.ask(Call("POST", "/v1/mails/batch", body=body), deadline)
            results += read(answer, _results, chunk)
        return results

    def look_up(self, request_ids: Iterable[str]) -> Plan[LookUp]:
        """Any number of IDs, 1,000 a call."""
        wanted = [checked(request_id) for request_id in dict.fromkeys(request_ids)]
        deadline = self._exchange.deadline()
        found: dict[str, MailRecord] = {}
        missing: list[str] = []
        lost: dict[str, LostRecord] = {}
        for start in range(0, len(wanted), MAX_LOOKUP):
            part = yield from self._look_up_some(wanted[start : start + MAX_LOOKUP], deadline)
            found |= part.found
            missing += part.missing
            lost |= part.lost
        return LookUp(found, tuple(missing), lost)

    def sent(self, request_ids: Iterable[str]) -> Plan[dict[str, datetime]]:
        """When, for those that were."""
        known = yield from self.look_up(request_ids)
        found = {key: mail.sent_at for key, mail in known.found.items()}
        times = found | {key: lost.sent_at for key, lost in known.lost.items()}
        return {key: sent_at for key, sent_at in times.items() if sent_at is not None}

    def find(self, request_id: str) -> Plan[MailRecord | None]:
        known = yield from self.look_up([request_id])
        return known.found.get(request_id)

    def wait_until_sent(self, request_id: str, timeout_seconds: float, poll_seconds: float) -> Plan[MailRecord]:
        deadline = self._exchange.deadline(timeout_seconds)
        wanted = [checked(request_id)]
        while True:
            known = yield from self._look_up_some(wanted, deadline)
            mail = known.found.get(request_id)
            if mail is None:
                raise UnknownRequestId(request_id)
            if mail.is_sent:
                return mail
            if mail.is_settled:
                raise NotSent(mail)
            if self._exchange.timing.clock() + poll_seconds >= deadline:
                raise DeadlineExceeded(f"The mail {request_id!r} is still {mail.state}", may_have_arrived=True)
            yield Pause(poll_seconds)

    def get(self, mail_id: UUID | str) -> Plan[MailRecord]:
        answer = yield from self._exchange.ask(Call("GET", f"/v1/mails/{UUID(str(mail_id))}"))
        return read(answer, read_mail)

    def cancel(self, mail_id: UUID | str) -> Plan[MailRecord]:
        # A second one is refused with `wrong-state`, as if the mail could not be canceled.
        call = Call("POST", f"/v1/mails/{UUID(str(mail_id))}/cancel", is_repeatable=False)
        answer = yield from self._exchange.ask(call)
        return read(answer, read_mail)

    def mails(self, filters: Mapping[str, Any]) -> Stream[MailRecord]:
        """Page by page; each page has a deadline of its own."""
        chosen = (*query(filters), ("limit", str(MAX_PAGE)))
        cursor: tuple[tuple[str, str], ...] = ()
        while True:
            answer = yield from self._exchange.ask(Call("GET", "/v1/mails", chosen + cursor))
            page, following = read(answer, _page)
            for mail in page:
                yield Emit(mail)
            if following is None:
                return
            cursor = (("cursor", following),)

    def follow(
        self, cursor: str | None, *, wait: bool, poll_seconds: float, start_again: bool, page_size: int
    ) -> Stream[Change]:
        """While it waits for changes it also waits out an outage of the service, however long."""
        limit = min(page_size, MAX_PAGE)
        while True:
            parameters = (("limit", str(limit)), *((("after", cursor),) if cursor else ()))
            deadline = NEVER if wait else None
            try:
                answer = yield from self._exchange.ask(Call("GET", "/v1/changes", parameters), deadline)
            except CursorLost:
                if not start_again or cursor is None:
                    raise
                cursor = None
                continue
            page, cursor, more = read(answer, _changes, cursor, limit)
            for change in page:
                yield Emit(change)
            if not more:
                if not wait:
                    return
                yield Pause(poll_seconds)

    def _look_up_some(self, request_ids: Sequence[str], deadline: float) -> Plan[LookUp]:
        answer = yield from self._exchange.ask(_look_up_call(request_ids), deadline)
        return read(answer, read_look_up)


def _look_up_call(request_ids: Sequence[str]) -> Call:
    return Call("POST", "/v1/mails/lookup", body=encoded({"request_ids": request_ids}))


def _accepted(answer: Answer) -> MailRecord:
    replayed = answer.headers.get("idempotent-replayed") == "true"
    return read(answer, read_mail, replayed=replayed)


def _page(members: Json) -> tuple[list[MailRecord], str | None]:
    return [read_mail(mail) for mail in members["items"]], members["next_cursor"]


def _results(members: Json, chunk: Sequence[tuple[str, bytes]]) -> list[BatchResult]:
    return [read_result(result, request_id) for (request_id, _), result in zip(chunk, members["results"], strict=True)]


def _changes(members: Json, cursor: str | None, limit: int) -> tuple[list[Change], str, bool]:
    """The changes of a page, the cursor behind it, and whether there is more to read now.

    The service gives a cursor for a page: only after its last change is there a new one to go on from. An earlier
    service does not say whether there is more: a full page means that.
    """
    items, following = members["items"], members["next_cursor"]
    page = [read_change(item, following if n == len(items) else cursor) for n, item in enumerate(items, 1)]
    return page, following, members.get("more", len(page) == limit)


def _chunks(mails: Sequence[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    chunk: list[tuple[str, bytes]] = []
    size = 0
    for request_id, mail in mails:
        if chunk and (len(chunk) == MAX_BATCH or size + len(mail) > _MAX_BATCH_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append((request_id, mail))
        size += len(mail)
    if chunk:
        yield chunk
