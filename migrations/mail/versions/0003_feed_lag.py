"""Who holds back the change feed: `feed_holder()` names the oldest transaction that is still writing.

Revises: 0002
"""

from alembic import op

from migrations import statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Every role sees the process, the database and the transaction number of every session on the server, but the begin of
# a transaction only of its own sessions. So the owner role, which may be a member of pg_read_all_stats, looks, and the
# runtime role learns these three columns and no statement. `since` is NULL when the owner may not see it.
_HOLDER = """
CREATE FUNCTION feed_holder() RETURNS TABLE (pid integer, database text, since timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT a.pid, a.datname::text, a.xact_start FROM pg_stat_activity a
    WHERE a.backend_xid = (SELECT pg_snapshot_xmin(pg_current_snapshot())::xid)
    UNION ALL
    -- A prepared transaction belongs to no process.
    SELECT NULL, p.database::text, p.prepared FROM pg_prepared_xacts p
    WHERE p.transaction = (SELECT pg_snapshot_xmin(pg_current_snapshot())::xid)
    LIMIT 1
$$
"""


def upgrade() -> None:
    statements.execute(
        [
            _HOLDER,
            "REVOKE ALL ON FUNCTION feed_holder() FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION feed_holder() TO {statements.runtime_role()}",
        ]
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION feed_holder()")
