"""Sanity checks, their findings, and alerts.

Revises: 0004
"""

from alembic import op

from migrations import statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            *statements.CHECKS,
            *statements.grants(role, append_only=(), tables=statements.CHECK_TABLES),
            # Rows that found no month of theirs are looked for here.
            f"GRANT SELECT ON history_default, outbox_settled_default TO {role}",
            # Cheap for whoever signs up: the first holds erased users only, BRIN one entry for each range of pages.
            "CREATE INDEX users_erased ON users (erased_at) WHERE erased_at IS NOT NULL",
            "CREATE INDEX idempotency_keys_created ON idempotency_keys USING brin (created_at)",
        ]
    )


def downgrade() -> None:
    role = statements.runtime_role()
    op.execute("DROP INDEX users_erased, idempotency_keys_created")
    op.execute(f"REVOKE SELECT ON history_default, outbox_settled_default FROM {role}")
    for table in reversed(statements.CHECK_TABLES):
        op.execute(f"DROP TABLE {table}")
