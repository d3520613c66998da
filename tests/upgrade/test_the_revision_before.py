"""A migration breaks nothing of the code before it, whose processes still run when it comes (docs/upgrading.md).

The code is that of the commit before the newest migration, from git. Its statements are planned, as the runtime role,
against the newest schema; those that the schema before took must be taken still. `make upgrade-test` runs processes.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.databases import ROOT, Clone, Server, alembic
from tests.upgrade.broken import refused_rows, refused_statements, statements_of
from tests.upgrade.past import NoHistoryError, check_out, commit_before

SERVICES = ["signup", "mail"]
# What a revision broke before this test was there; docs/upgrading.md says so of each.
KNOWN: set[str] = set()


def _newest_two(service: str) -> tuple[Path, str]:
    """The newest migration, and the number of the one before."""
    *_, before, newest = sorted((ROOT / "migrations" / service / "versions").glob("[0-9]*.py"))
    return newest, before.name.partition("_")[0]


@pytest.fixture
async def before(postgres_server: Server, service: str) -> AsyncIterator[str]:
    """The name of a database whose schema is that of the revision before."""
    name = await postgres_server.clone(service)
    done = alembic(service, postgres_server.url(name, f"{service}_owner"), "downgrade", _newest_two(service)[1])
    assert done.returncode == 0, done.stderr
    yield name
    await postgres_server.drop(name)


@pytest.mark.parametrize("service", SERVICES)
async def test_the_newest_migration_breaks_nothing_of_the_code_before_it(
    postgres_server: Server, before: str, service: str, tmp_path: Path
) -> None:
    try:
        checkout = check_out(commit_before(_newest_two(service)[0]), tmp_path)
    except NoHistoryError as error:
        pytest.skip(f"the code before the newest migration is not to be had: {error}")
    statements = statements_of(checkout, service)
    took = await refused_statements(postgres_server.url(before, f"{service}_app"), statements)
    takes = await refused_statements(postgres_server.url(service, f"{service}_app"), statements)
    assert len(took) < len(statements) / 10, took
    assert {name: why for name, why in takes.items() if name not in took.keys() | KNOWN} == {}
    owner = f"{service}_owner"
    assert await refused_rows(postgres_server.url(before, owner), postgres_server.url(service, owner)) == []


@pytest.fixture(scope="module")
def present_statements() -> dict[str, str]:
    return statements_of(ROOT, "signup")


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE users DROP COLUMN locale",
        "ALTER TABLE users RENAME COLUMN locale TO language",
        "ALTER TABLE outbox RENAME TO owed",
        "REVOKE UPDATE (due_at) ON outbox FROM signup_app",
        "DROP FUNCTION erase_user_payloads(uuid[])",
    ],
)
async def test_a_change_that_takes_something_away_is_found(
    signup_database: Clone, present_statements: dict[str, str], change: str
) -> None:
    took = await refused_statements(signup_database.runtime_url, present_statements)
    await signup_database.as_owner(change)
    takes = await refused_statements(signup_database.runtime_url, present_statements)
    assert takes.keys() > took.keys()


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE users ADD COLUMN wanted text NOT NULL DEFAULT ''; ALTER TABLE users ALTER wanted DROP DEFAULT",
        "ALTER TABLE users ADD CHECK (length(name) < 50)",
        "CREATE UNIQUE INDEX ON users (external_id)",
        "ALTER TABLE users ALTER locale TYPE varchar(2)",
        "ALTER TABLE outbox ALTER user_id SET NOT NULL",
    ],
)
async def test_a_change_that_refuses_rows_is_found(
    postgres_server: Server, signup_database: Clone, change: str
) -> None:
    await signup_database.as_owner(change)
    assert await refused_rows(postgres_server.url("signup", "signup_owner"), signup_database.owner_url) != []
