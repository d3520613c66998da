"""The index of states stands on a column that an ordinary mail never changes, so its updates leave the indexes alone.

PostgreSQL updates a row without touching any index (a heap-only tuple) when no indexed column changes, and a column in
a partial index's predicate counts as indexed. With `state` in one, each of a mail's two updates wrote all six indexes.

Revises: 0005
"""

from alembic import op

from migrations import statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_RARE = "state IN ('uncertain', 'failed', 'bounced', 'expired', 'canceled', 'suppressed')"
_RARE_STATE = f"CASE WHEN {_RARE} THEN state END"


def upgrade() -> None:
    """Rewrites `mails`, which is locked meanwhile."""
    statements.execute(
        [
            f"ALTER TABLE mails ADD COLUMN rare_state text GENERATED ALWAYS AS ({_RARE_STATE}) STORED",
            "DROP INDEX mails_state",
            "CREATE INDEX mails_rare_state ON mails (rare_state, id) WHERE rare_state IS NOT NULL",
        ]
    )


def downgrade() -> None:
    op.execute("DROP INDEX mails_rare_state")
    op.execute("ALTER TABLE mails DROP COLUMN rare_state")
    op.execute(f"CREATE INDEX mails_state ON mails (state, id) WHERE {_RARE}")
