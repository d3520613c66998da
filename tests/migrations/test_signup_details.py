"""Revision 0002 of the signup database, with rows of the version before it."""

import asyncpg

from tests.support.databases import Clone, alembic

HELD = """'{"template": "verification", "to": {"email": "a@x.example"}, "details": {"name": "A"}}'"""


async def test_users_from_before_count_as_written_by_a_key_and_held_details_do_not_outlive_a_downgrade(
    signup_database: Clone,
) -> None:
    owner = await asyncpg.connect(signup_database.owner_url)
    user = "INSERT INTO users (email, email_key, name, source) VALUES ('{0}', '{0}', 'A', 'web') RETURNING id"
    first = await owner.fetchval(user.format("a@x.example"))
    await owner.execute(
        f"INSERT INTO outbox (effect, user_id, payload, expires_at) VALUES ('mail', $1, {HELD}, now())", first
    )
    await owner.execute(
        "INSERT INTO outbox_settled (id, effect, user_id, payload, outcome, attempts, created_at)"
        f" VALUES (uuidv7(), 'mail', $1, {HELD}, 'delivered', 1, now())",
        first,
    )
    await owner.close()
    down = alembic("signup", signup_database.owner_url, "downgrade", "0001")
    assert down.returncode == 0, down.stderr
    owner = await asyncpg.connect(signup_database.owner_url)
    payloads = await owner.fetch("SELECT payload::text FROM outbox UNION ALL SELECT payload::text FROM outbox_settled")
    assert len(payloads) == 2
    assert not any("details" in row["payload"] for row in payloads)
    await owner.execute(user.format("b@x.example"))
    await owner.close()
    up = alembic("signup", signup_database.owner_url, "upgrade", "head")
    assert up.returncode == 0, up.stderr
    rows = await signup_database.database.pool.fetch("SELECT email, written_by_key FROM users ORDER BY email")
    assert [tuple(row) for row in rows] == [("a@x.example", True), ("b@x.example", True)]
