"""Sanity checks, their findings, and alerts.

Revises: 0002
"""

from alembic import op

from migrations import statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            *statements.CHECKS,
            *statements.grants(role, append_only=(), tables=statements.CHECK_TABLES),
            # Rows that found no month of theirs are looked for here.
            f"GRANT SELECT ON history_default TO {role}",
        ]
    )


def downgrade() -> None:
    op.execute(f"REVOKE SELECT ON history_default FROM {statements.runtime_role()}")
    for table in reversed(statements.CHECK_TABLES):
        op.execute(f"DROP TABLE {table}")
