"""`uncertain` with and without a gateway that deduplicates, under kills and lost replies: record against copies.

The mail worker is a real process and is killed with -9 in the middle of its work. The gateway loses replies, before and
after it took the mail.
"""

import asyncio
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from local.ports import pick_free
from local.process import dies_with_parent
from shared.db.pool import DatabaseOptions, Record, open_database
from tests.support.databases import ROOT, Clone, Server
from tests.support.deduplicating_smtp import Loss, provider
from tests.support.delivery import IDEMPOTENCY_HEADER
from tests.support.mails import insert_mails
from tests.support.scripted_smtp import Received
from tests.support.stack import eventually

MAILS = 60
# `FAULT_SEEDS=20 make test` runs more of them.
SEEDS = int(os.environ.get("FAULT_SEEDS", "1"))
# Four to six starts of a worker, on a machine that may be busy.
PATIENCE_SECONDS = 240.0
UNFINISHED = "SELECT count(*) FROM mails WHERE state NOT IN ('sent', 'uncertain')"
RECORD = """
SELECT m.id::text, m.to_email, m.state, m.failure_reason, m.on_uncertain,
       count(*) FILTER (WHERE a.outcome = 'unknown') AS unknown,
       count(*) FILTER (WHERE a.outcome = 'accepted') AS accepted,
       array_agg(DISTINCT a.idempotency_header) FILTER (WHERE a.transmitting_at IS NOT NULL) AS headers
FROM mails m JOIN attempts a ON a.mail_id = m.id GROUP BY m.id
"""


@dataclass
class Worker:
    """A mail worker process that is started again whenever it was killed."""

    environment: dict[str, str]
    log: Path
    process: "subprocess.Popen[bytes] | None" = None

    def start_if_dead(self) -> None:
        if self.process is not None and self.process.poll() is None:
            return
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*dies_with_parent("KILL"), sys.executable, "-m", "services.mail", "worker"],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=log,
            )

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def last_words(self) -> str:
        return self.log.read_text()[-5000:]


@dataclass
class Losses:
    """Which replies are lost, and at which dots the worker dies. Drawn from a seed."""

    draw: random.Random
    worker: Worker
    kills: int
    dots: int = 0
    lost: int = 0
    kill_at: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.kill_at = self.draw.sample(range(3, MAILS // 2), self.kills)

    def __call__(self, _mail: Received) -> Loss | None:
        self.dots += 1
        fate = self.draw.random()
        if self.dots in self.kill_at:
            self.lost += 1
            return Loss(taken=fate < 0.5, instead=self.worker.kill)
        if fate < 0.15:
            self.lost += 1
            return Loss(taken=fate < 0.1)
        return None


@dataclass(frozen=True)
class Outcome:
    """The record and the copies at the gateway, after all faults."""

    rows: list[Record]
    copies: Counter[str]
    lost: int

    def copies_of(self, row: Record) -> int:
        return self.copies[row["to_email"]]


@asynccontextmanager
async def clone_of(server: Server) -> AsyncIterator[Clone]:
    name = await server.clone("mail")
    runtime_url = server.url(name, "mail_app")
    database = await open_database(DatabaseOptions(runtime_url, "test"))
    try:
        yield Clone(server.url(name, "mail_owner"), runtime_url, database)
    finally:
        await database.close()
        await server.drop(name)


async def _deliver_under_faults(clone: Clone, log: Path, seed: int, *, deduplicates: bool) -> Outcome:
    draw = random.Random(seed)
    pool = clone.database.pool
    for policy in ("hold", "resend"):
        await insert_mails(pool, MAILS // 2, on_uncertain=policy, text="T" * draw.choice((10, 2000, 50_000)))
    parameters = f"&idempotency_header={IDEMPOTENCY_HEADER}&idempotency_seconds=3600" if deduplicates else ""
    worker = Worker({}, log)
    losses = Losses(draw, worker, kills=1 + seed % 2)
    async with provider(losses, deduplicates=deduplicates) as gateway:
        worker.environment |= {name: value for name, value in os.environ.items() if not name.endswith("_DATABASE_URL")}
        worker.environment |= {
            "MAIL_RUNTIME_DATABASE_URL": clone.runtime_url,
            "MAIL_GATEWAYS": f"smtp://127.0.0.1:{gateway.smtp.port}?name=provider&connections=4{parameters}",
            "REDIS_URL": f"redis://127.0.0.1:{pick_free()}/0",  # no server there: delivery needs none
            "MAIL_EHLO_NAME": "worker.example",
            # Short, so that the mails of a killed worker are free again within a test.
            "MAIL_LEASE_SECONDS": "1",
            "MAIL_REPLY_TIMEOUT_SECONDS": "20",
            "MAIL_RETRY_BASE_SECONDS": "0.5",
        }

        async def unfinished() -> int:
            worker.start_if_dead()
            return int(await pool.fetchval(UNFINISHED))

        try:
            await eventually(
                unfinished, lambda count: count == 0, seconds=PATIENCE_SECONDS, what="every mail sent or uncertain"
            )
        except TimeoutError as error:
            pytest.fail(f"{error}\n{worker.last_words()}")
        finally:
            worker.kill()
        return Outcome(await pool.fetch(RECORD), gateway.copies, losses.lost)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_the_record_agrees_with_the_copies_and_a_gateway_that_deduplicates_leaves_no_mail_uncertain(
    seed: int, postgres_server: Server, tmp_path: Path
) -> None:
    async with clone_of(postgres_server) as first, clone_of(postgres_server) as second:
        without, with_key = await asyncio.gather(
            _deliver_under_faults(first, tmp_path / "without.log", seed, deduplicates=False),
            _deliver_under_faults(second, tmp_path / "with.log", seed, deduplicates=True),
        )
    for outcome in (without, with_key):
        assert len(outcome.rows) == MAILS
        assert outcome.lost > seed % 2
    for row in with_key.rows:
        assert (row["state"], row["accepted"], with_key.copies_of(row)) == ("sent", 1, 1), dict(row)
        assert row["headers"] == [f"{IDEMPOTENCY_HEADER}: {row['id']}"]
    for row in without.rows:
        copies = without.copies_of(row)
        assert row["headers"] == [None]
        if row["state"] == "uncertain":
            assert (row["on_uncertain"], row["accepted"], row["unknown"]) == ("hold", 0, 1), dict(row)
            assert copies <= 1, dict(row)
        else:
            assert row["accepted"] == 1, dict(row)
            assert 1 <= copies <= 1 + row["unknown"], dict(row)
            assert row["on_uncertain"] == "resend" or row["unknown"] == 0, dict(row)
    _print(seed, without, with_key)


def _print(seed: int, without: Outcome, with_key: Outcome) -> None:
    """For `pytest -s`."""
    for name, outcome in (("without", without), ("with", with_key)):
        uncertain = [row for row in outcome.rows if row["state"] == "uncertain"]
        print(  # noqa: T201 - the numbers of a run
            f"seed {seed:2} {name:>7} idempotency: {outcome.lost:2} replies lost, {len(uncertain):2} uncertain"
            f" ({sum(map(outcome.copies_of, uncertain))} of them had arrived),"
            f" {sum(copies - 1 for copies in outcome.copies.values())} copies too many"
        )
