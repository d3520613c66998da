"""One look finds every kind of rare work and wakes the loops that do it."""

import pytest

from services.signup.rare_work import RareWork
from shared.worker.schedule import WakeupFanout
from tests.support.imports import Imports, people
from tests.support.signups import SignupLedger

REQUEST_A_RUN = """
INSERT INTO reconciliation_runs (window_from, window_to, repair, actor, due_at)
VALUES (now() - interval '1 day', now(), true, 'test', now() + make_interval(secs => $1::float8))
"""


async def _woken(ledger: SignupLedger) -> tuple[bool, bool]:
    """Whether a look wakes the loops of imports and of reconciliation."""
    imports, reconciliation = WakeupFanout(), WakeupFanout()
    woken = imports.subscribe(), reconciliation.subscribe()
    await RareWork(ledger.pool, imports=imports, reconciliation=reconciliation).run_once()
    return woken[0].is_set(), woken[1].is_set()


async def test_without_work_it_wakes_no_loop(imports: Imports, ledger: SignupLedger) -> None:
    await imports.run(people(1))
    assert await _woken(ledger) == (False, False)


async def test_a_running_import_wakes_the_loops_of_imports(imports: Imports, ledger: SignupLedger) -> None:
    await imports.start(people(1))
    assert await _woken(ledger) == (True, False)


@pytest.mark.parametrize(("seconds_ago", "woken"), [(60, False), (16 * 60, True)])
async def test_an_upload_wakes_them_once_it_is_abandoned(
    imports: Imports, ledger: SignupLedger, *, seconds_ago: int, woken: bool
) -> None:
    await imports.start(people(1))
    await ledger.run(
        "UPDATE imports SET state = 'receiving', receiver = uuidv7(), received_at = now() - make_interval(secs => $1)",
        float(seconds_ago),
    )
    assert await _woken(ledger) == (woken, False)


async def test_an_import_that_was_canceled_wakes_them_until_it_is_cleaned_up(
    imports: Imports, ledger: SignupLedger
) -> None:
    await imports.act(await imports.start(people(30)), "cancel")
    assert await _woken(ledger) == (True, False)
    while await imports.cleanup.run_once():
        pass
    assert await _woken(ledger) == (False, False)


@pytest.mark.parametrize(("due_in_seconds", "woken"), [(0.0, True), (60.0, False)])
async def test_a_reconciliation_wakes_its_loop_when_it_is_due(
    ledger: SignupLedger, *, due_in_seconds: float, woken: bool
) -> None:
    await ledger.pool.execute(REQUEST_A_RUN, due_in_seconds)
    assert await _woken(ledger) == (False, woken)
