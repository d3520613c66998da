"""Sanity checks, their findings, and alerts.

Revises: 0004
"""

from migrations import statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute([])


def downgrade() -> None:
    statements.execute([])
