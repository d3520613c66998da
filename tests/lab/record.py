"""The record of a run: its seed, the faults as they took place, the load, the backlog, the verdict. Kept as JSON."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from . import queries
from .checker import Verdict
from .evidence import Outage
from .faults.fault import SIGNUP, Fault
from .gateway import Gateway
from .load import Load
from .schedule import Planned

_SAMPLE_SECONDS = 1.0
_SQL_SECONDS = 1.0
# Of each promise that was broken, so many rows are kept; their number always is.
_MOST_ROWS = 200


@dataclass
class Happened:
    """A fault as it took place; times are seconds since the load began. `problem`: why it did not, or not whole."""

    planned: Planned
    target: str
    disturbs_signup: bool
    began: float
    ended: float | None = None
    was_had: bool = True
    problem: str | None = None

    @classmethod
    def of(cls, planned: Planned, fault: Fault, now: float) -> "Happened":
        return cls(planned, fault.target, SIGNUP in fault.disturbs, now)


@dataclass(frozen=True)
class Sample:
    """Since the load began: what was asked, accepted, and taken by the gateway. Backlogs: None when not readable."""

    at: float
    asked: int
    accepted: int
    copies: int
    signup_backlog: int | None
    mail_backlog: int | None


@dataclass
class Record:
    seed: int
    minutes: float
    began_at: float = 0.0
    load_seconds: float = 0.0
    drain_seconds: float | None = None
    happened: list[Happened] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    notes: list[tuple[float, str]] = field(default_factory=list)
    verdicts: Sequence[Verdict] = ()
    load: dict[str, Any] = field(default_factory=dict)
    machine: str = ""

    @property
    def now(self) -> float:
        return time.time() - self.began_at

    @property
    def held(self) -> bool:
        return bool(self.verdicts) and all(verdict.held for verdict in self.verdicts)

    def outages(self) -> list[Outage]:
        """For the checker, in its absolute times."""
        return [
            Outage(
                each.planned.fault,
                self.began_at + each.began,
                self.began_at + (each.ended if each.ended is not None else self.now),
                each.disturbs_signup,
            )
            for each in self.happened
            if each.was_had
        ]

    def not_had(self) -> dict[str, str]:
        """Faults that this machine could not have, and why."""
        return {each.planned.fault: each.problem or "" for each in self.happened if not each.was_had}

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        content = asdict(self) | {
            "held": self.held,
            "verdicts": [
                {
                    "promise": verdict.promise,
                    "text": verdict.text,
                    "held": verdict.held,
                    "violations": len(verdict.violations),
                    "rows": [asdict(violation) for violation in verdict.violations[:_MOST_ROWS]],
                }
                for verdict in self.verdicts
            ],
        }
        (folder / "record.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))


async def sample(record: Record, load: Load, gateway: Gateway, signup_url: str, mail_url: str) -> None:
    """Adds a sample a second, until it is canceled."""
    while True:
        signup, mail = await asyncio.gather(
            _count(signup_url, queries.SIGNUP_BACKLOG), _count(mail_url, queries.MAIL_BACKLOG)
        )
        accepted = sum(ask.is_accepted for ask in load.asks)
        record.samples.append(Sample(record.now, len(load.asks), accepted, len(gateway.copies), signup, mail))
        await asyncio.sleep(_SAMPLE_SECONDS)


async def _count(url: str, query: str) -> int | None:
    try:
        async with asyncio.timeout(_SQL_SECONDS):
            connection = await asyncpg.connect(url)
            try:
                found: int = await connection.fetchval(query)
                return found
            finally:
                connection.terminate()
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
        return None
