"""Group commit: many writers, few statements, and each writer gets its own result."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import pytest

from services.mail.delivery.claim import ClaimedMail, claim_due
from services.mail.delivery.recorder import AttemptEnd, GroupCommit, Recorder, Transmission
from services.mail.delivery.retry_policy import RetryPolicy, decide_next
from services.mail.delivery.smtp_outcomes import Step, classify
from tests.support.databases import Clone
from tests.support.mails import insert_mails, states


def transmission(mail: ClaimedMail, lease: UUID | None = None) -> Transmission:
    return Transmission(mail.mail_id, mail.snapshot.attempt, lease or mail.lease, "g")


def accepted(mail: ClaimedMail) -> AttemptEnd:
    settlement = decide_next(mail.snapshot, classify(Step.BODY, 250, "ok"), mail.now(), RetryPolicy())
    return AttemptEnd(mail.mail_id, mail.snapshot.attempt, mail.lease, "g", settlement)


class FakeDatabase:
    """Stands in for the database and counts the rows of each write."""

    def __init__(self, *, failing: int = 0, error: Exception | None = None) -> None:
        self.batches: list[int] = []
        self.failing = failing
        self.error = error or asyncpg.ConnectionDoesNotExistError()

    async def write(self, items: Sequence[Transmission]) -> set[UUID]:
        await asyncio.sleep(0)
        if self.failing:
            self.failing -= 1
            raise self.error
        self.batches.append(len(items))
        return {item.lease for item in items}


class UnknownFault(Exception):  # noqa: N818 - like asyncpg's InternalClientError, which is in no family of errors
    """An error that the driver does not document."""


def transmissions(count: int) -> list[Transmission]:
    return [Transmission(uuid4(), 1, uuid4(), "g") for _ in range(count)]


async def test_writes_that_arrive_together_share_a_commit() -> None:
    database = FakeDatabase()
    commits = GroupCommit(database.write, keep_trying=False)
    assert all(await asyncio.gather(*(commits.submit(item) for item in transmissions(50))))
    assert database.batches == [50]


async def test_writes_that_arrive_during_a_commit_share_the_next() -> None:
    database = FakeDatabase()
    commits = GroupCommit(database.write, keep_trying=False)
    first = asyncio.create_task(commits.submit(transmissions(1)[0]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [asyncio.create_task(commits.submit(item)) for item in transmissions(7)]
    assert all(await asyncio.gather(first, *later))
    assert database.batches == [1, 7]


async def test_a_failed_transmission_record_is_reported_and_not_repeated() -> None:
    database = FakeDatabase(failing=1)
    commits = GroupCommit(database.write, keep_trying=False)
    with pytest.raises(asyncpg.ConnectionDoesNotExistError):
        await commits.submit(transmissions(1)[0])
    assert database.batches == []


@pytest.mark.promise("P8")
@pytest.mark.parametrize("error", [asyncpg.CannotConnectNowError("starting up"), OSError("gone"), UnknownFault("?")])
async def test_an_outcome_is_written_however_the_database_fails_meanwhile(error: Exception) -> None:
    database = FakeDatabase(failing=2, error=error)
    commits = GroupCommit(database.write, keep_trying=True)
    assert await commits.submit(transmissions(1)[0])
    assert database.batches == [1]


async def test_one_bad_record_does_not_fail_the_others(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 3)
    first, bad, last = (await claim_due(pool, 3, 30)).mails
    recorder = Recorder(pool)
    await asyncio.gather(*(recorder.transmitting(transmission(mail)) for mail in (first, bad, last)))
    unstorable = accepted(bad)
    unstorable = replace(
        unstorable, settlement=replace(unstorable.settlement, reason="NUL \0 is no text for PostgreSQL")
    )
    outcomes = await asyncio.gather(
        recorder.settle(accepted(first)),
        recorder.settle(unstorable),
        recorder.settle(accepted(last)),
        return_exceptions=True,
    )
    assert (outcomes[0], outcomes[2]) == (True, True)
    assert isinstance(outcomes[1], asyncpg.DataError)
    assert await states(mail_database.database) == {"sent": 2, "sending": 1}


async def test_closing_cancels_every_waiting_writer() -> None:
    database = FakeDatabase(failing=10**6)
    commits = GroupCommit(database.write, keep_trying=True)
    waiting = [asyncio.create_task(commits.submit(item)) for item in transmissions(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await commits.close()
    done = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(answer, asyncio.CancelledError) for answer in done)


async def test_in_one_commit_each_caller_gets_its_own_result(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 3)
    first, second, third = (await claim_due(pool, 3, 30)).mails
    recorder = Recorder(pool)
    outcomes = await asyncio.gather(
        recorder.transmitting(transmission(first)),
        recorder.transmitting(transmission(second, lease=uuid4())),
        recorder.transmitting(transmission(third)),
    )
    assert list(outcomes) == [True, False, True]
    assert await pool.fetchval("SELECT count(*) FROM attempts WHERE phase = 'transmitting'") == 2
    assert await pool.fetchval("SELECT count(DISTINCT transmitting_at) FROM attempts") == 1


async def test_outcomes_survive_the_loss_of_every_connection(mail_database: Clone) -> None:
    pool = mail_database.database.pool
    await insert_mails(pool, 20)
    mails = (await claim_due(pool, 20, 30)).mails
    recorder = Recorder(pool)
    await asyncio.gather(*(recorder.transmitting(transmission(mail)) for mail in mails))
    writing = [asyncio.create_task(recorder.settle(accepted(mail))) for mail in mails]
    for connection in pool._holders:  # type: ignore[attr-defined]
        if connection._con is not None:
            connection._con.terminate()
    assert all(await asyncio.gather(*writing))
    assert await states(mail_database.database) == {"sent": 20}
