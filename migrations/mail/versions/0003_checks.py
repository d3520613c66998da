"""Sanity checks, their findings, and alerts.

Revises: 0002
"""

from migrations import statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute([])


def downgrade() -> None:
    statements.execute([])
