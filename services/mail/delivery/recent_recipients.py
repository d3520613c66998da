"""What each gateway answered to its recent recipients, shared by all workers through the database.

An acceptance costs no statement: it is kept in memory, and the last ones are written every few seconds, or together
with a refusal. A refusal costs two. No address is stored, only a hash of it, and that for a day at most.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from shared.db.pool import Pool, Record
from shared.observability.foreign_errors import describe
from shared.observability.logs import get_logger

from . import recent_recipients_queries as queries
from .refusal_guard import RECIPIENTS_JUDGED, RecentRecipient, in_effect, is_judged, judge, not_judged
from .smtp_outcomes import Outcome, Verdict

_log = get_logger(__name__)

# More than are judged, because of those only some have the same domain. As many acceptances stay in the database.
_MOST_RECIPIENTS = 2 * RECIPIENTS_JUDGED
# Domains whose acceptance is remembered until the next write. More are forgotten: their refusals look less believable.
_MOST_DOMAINS = 1_000


@dataclass(slots=True)
class _Accepted:
    """What a gateway accepted since the last write: the last recipients, oldest first, with the time; the domains."""

    recipients: dict[str, float] = field(default_factory=dict)
    domains: set[str] = field(default_factory=set)


class RecentRecipients:
    """A loop (`shared.worker.loops`): `run_once` writes what the gateways accepted since the last write."""

    name = "recent-recipients"

    def __init__(self, pool: Pool, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._accepted: dict[str, _Accepted] = {}
        # So that a refusal is judged after all that this process heard before it.
        self._writing = asyncio.Lock()

    async def judge(self, gateway: str, recipient: str, verdict: Verdict) -> Verdict:
        """The verdict as it takes effect. Never raises, and never waits after an acceptance."""
        if not is_judged(verdict):
            return verdict
        recipient = recipient.lower()
        if verdict.outcome is Outcome.ACCEPTED:
            self._remember(gateway, recipient)
            return verdict
        try:
            await self._write(gateway, refused=recipient)
            rows = await self._pool.fetch(queries.RECENT_RECIPIENTS, gateway)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the database, the mail must not fail for it
            _log.warning("refusal_not_judged", gateway=gateway, error=describe(error))
            return not_judged(verdict)
        return in_effect(verdict, judge(recent_in(rows), _domain_of(recipient)))

    def _remember(self, gateway: str, recipient: str) -> None:
        accepted = self._accepted.setdefault(gateway, _Accepted())
        accepted.recipients.pop(recipient, None)
        accepted.recipients[recipient] = self._clock()
        if len(accepted.recipients) > _MOST_RECIPIENTS:
            del accepted.recipients[next(iter(accepted.recipients))]
        if len(accepted.domains) < _MOST_DOMAINS:
            accepted.domains.add(_domain_of(recipient))

    async def run_once(self) -> bool:
        for gateway in list(self._accepted):
            await self._write(gateway)
        return False

    async def _write(self, gateway: str, refused: str | None = None) -> None:
        async with self._writing:
            await self._write_one(gateway, refused)

    async def _write_one(self, gateway: str, refused: str | None) -> None:
        accepted = self._accepted.pop(gateway, _Accepted())
        now = self._clock()
        ages = {recipient: now - at for recipient, at in accepted.recipients.items() if recipient != refused}
        given = [(recipient, False, age) for recipient, age in ages.items()]
        if refused is not None:
            given.append((refused, True, 0.0))
        await self._pool.execute(
            queries.RECORD_RECIPIENTS,
            gateway,
            [_hash_of(recipient) for recipient, _, _ in given],
            [_domain_of(recipient) for recipient, _, _ in given],
            [is_refused for _, is_refused, _ in given],
            [age for _, _, age in given],
            list(accepted.domains),
        )


def recent_in(rows: Sequence[Record | Mapping[str, object]]) -> list[RecentRecipient]:
    """The recipients in rows of RECENT_RECIPIENTS, for `refusal_guard`."""
    return [RecentRecipient(str(row["domain"]), bool(row["refused"]), bool(row["domain_accepted"])) for row in rows]


def _hash_of(recipient: str) -> bytes:
    return hashlib.sha256(recipient.encode("utf-8", "replace")).digest()[:16]


def _domain_of(recipient: str) -> str:
    return recipient.rpartition("@")[2]
