"""Brings notices about a mail to its sender: as a mail, and to the mail service that runs beside the catcher."""

import asyncio
import http.client
import logging
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from .. import runenv
from .message import Envelope
from .store import Store

# Before each try. The first lets the mail service record that the mail was sent: before that it answers 409.
WAITS_SECONDS = (0.5, 1, 2, 4, 8, 15, 30)
ANSWER_SECONDS = 10
TAKEN, TRY_AGAIN, NO_ANSWER = 200, (409, 429, 503), 0

log = logging.getLogger(__name__)


class Feedback:
    """`run_env` names the mail service and a key for it, while a stack runs; without one, notices are mails only."""

    def __init__(self, store: Store, run_env: Path, waits_seconds: Sequence[float] = WAITS_SECONDS) -> None:
        self._store = store
        self._run_env = run_env
        self._waits_seconds = waits_seconds
        self._running: set[asyncio.Task[None]] = set()

    def bring(self, notice: bytes, to: str) -> None:
        """Returns at once. A null sender gets no notice (RFC 5321 §4.5.5)."""
        if not to:
            return
        task = asyncio.get_running_loop().create_task(self._bring(notice, to))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _bring(self, notice: bytes, to: str) -> None:
        try:
            await self._store.add(notice, Envelope("", (to,)))
        except Exception:
            log.exception("cannot store a notice")
        status = NO_ANSWER
        for wait in self._waits_seconds:
            await asyncio.sleep(wait)
            try:
                facts = runenv.read(self._run_env)
            except OSError:
                return
            status = await asyncio.to_thread(_post, facts["MAIL_URL"], facts["OPERATOR_KEY"], notice)
            if status not in {NO_ANSWER, *TRY_AGAIN}:
                break
        if status != TAKEN:
            log.warning("the mail service did not take a notice (status %s)", status or "none")


def _post(url: str, key: str, notice: bytes) -> int:
    """The status of the answer, or NO_ANSWER."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=ANSWER_SECONDS)
    try:
        connection.request(
            "POST", "/v1/bounces", notice, {"Authorization": f"Bearer {key}", "Content-Type": "message/rfc822"}
        )
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return NO_ANSWER
    finally:
        connection.close()
