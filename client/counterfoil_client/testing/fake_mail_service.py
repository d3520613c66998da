"""The fake itself: what a test plugs in, what it lets happen, and what it reads afterwards."""

import threading
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self

import httpx

from ..errors import RateLimited, Unauthorized, Unavailable
from ..mail import AsyncMail, Mail
from ..records import MailRecord, read_mail
from ..retrying import Retry
from .ledger import Entry, Ledger
from .loopback_server import LoopbackServer
from .mail_endpoints import MailEndpoints
from .replies import Refusal, Reply
from .templates import FakeTemplate
from .validation import address_key

_KEY_PREFIX = "fake-"
# The first waits are short, so that a test with a lost answer is quick.
_QUICK = Retry(base_seconds=0.001, cap_seconds=0.01)


class FakeMailService:
    """A mail service in memory. Each client has mails of its own, under its own key.

    `templates` names the templates there are; None takes every template. Close it at the end, or use it in a `with`
    block: the server behind `url` is then stopped.
    """

    def __init__(self, templates: Mapping[str, FakeTemplate] | None = None) -> None:
        self._ledger = Ledger(templates)
        self._endpoints = MailEndpoints(self._ledger)
        self._lock = threading.RLock()
        self._faults: deque[Reply] = deque()
        self._server: LoopbackServer | None = None

    def client(self, name: str = "tests") -> Mail:
        """A client that calls this fake without a network."""
        return Mail("http://mail.fake", api_key=self.api_key(name), transport=self.transport(), retry=_QUICK)

    def async_client(self, name: str = "tests") -> AsyncMail:
        """See `client`."""
        return AsyncMail("http://mail.fake", api_key=self.api_key(name), transport=self.transport(), retry=_QUICK)

    def transport(self) -> httpx.MockTransport:
        """For an httpx client of either kind."""
        return httpx.MockTransport(self._answer_httpx)

    @property
    def url(self) -> str:
        """Where a real HTTP server on this machine answers, for code that makes its own client. Starts it."""
        with self._lock:
            if self._server is None:
                self._server = LoopbackServer(self._answer)
            return self._server.url

    def api_key(self, client: str = "tests") -> str:
        """The key of a client. There is no other secret to it."""
        return _KEY_PREFIX + client

    @property
    def mails(self) -> list[MailRecord]:
        """Every mail of every client, oldest first."""
        with self._lock:
            return [read_mail(entry.mail) for entry in self._ledger.entries.values()]

    def variables_of(self, request_id: str) -> dict[str, Any]:
        """What a template was to be rendered with."""
        with self._lock:
            return dict(self._entry(request_id).content.get("variables", {}))

    def deliver(self) -> int:
        """Send every mail that waits. Returns their number."""
        with self._lock:
            waiting = [
                entry for entry in self._ledger.entries.values() if entry.mail["state"] in {"queued", "deferred"}
            ]
            for entry in waiting:
                attempts = entry.mail["attempts"] + 1
                self._ledger.settle(entry, "sent", sent_at=_now(), attempts=attempts, gateway="fake", failure=None)
            return len(waiting)

    def settle(self, request_id: str, state: str, *, reason: str = "", reply: str | None = None) -> None:
        """Decide what happens to a mail: `failed`, `bounced`, `uncertain`, `deferred`, …"""
        with self._lock:
            entry = self._entry(request_id)
            failure = {"reason": reason or state, "code": None, "enhanced_code": None, "reply": reply}
            sent_at = _now() if state in {"sent", "bounced"} else None
            self._ledger.settle(entry, state, sent_at=sent_at, failure=None if state == "sent" else failure)

    def suppress(self, email: str) -> None:
        """Accept mails to this address as `suppressed` from now on."""
        with self._lock:
            self._ledger.suppressed.add(address_key(email))

    def forget_changes(self) -> None:
        """As after a restore to an earlier time: cursors of now are lost."""
        with self._lock:
            self._ledger.changes.clear()

    def lose_answers(self, count: int = 1) -> None:
        """Carry out the next `count` calls, and end the connection before the answer."""
        self._faults.extend([Reply(0, is_lost=True)] * count)

    def refuse(self, status: int = 503, *, retry_after: float | None = None, count: int = 1) -> None:
        """Answer the next `count` calls with this status, and do nothing."""
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:.0f}"}
        kind = RateLimited if status == HTTPStatus.TOO_MANY_REQUESTS else Unavailable
        self._faults.extend([Refusal(kind, status, headers=headers).reply()] * count)

    def close(self) -> None:
        if self._server is not None:
            self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        with self._lock:
            fault = self._faults.popleft() if self._faults else None
            if fault is not None and not fault.is_lost:
                return fault
            try:
                reply = self._endpoints.answer(_client_of(headers), method, target, headers, body)
            except Refusal as refusal:
                reply = refusal.reply()
            return fault or reply

    def _answer_httpx(self, request: httpx.Request) -> httpx.Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        reply = self._answer(request.method, request.url.raw_path.decode(), headers, request.content)
        if reply.is_lost:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.", request=request)
        return httpx.Response(reply.status, headers=dict(reply.headers), content=reply.body)

    def _entry(self, request_id: str) -> Entry:
        for (_, known_id), entry in self._ledger.entries.items():
            if known_id == request_id:
                return entry
        raise KeyError(f"There is no mail with the request ID {request_id!r}")


def _client_of(headers: Mapping[str, str]) -> str:
    scheme, _, key = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.startswith(_KEY_PREFIX):
        raise Refusal(Unauthorized, 401)
    return key.removeprefix(_KEY_PREFIX)


def _now() -> str:
    return datetime.now(UTC).isoformat()
