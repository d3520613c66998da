"""Bounces and complaints, and what is kept for how long.

Revises: 0001
"""

from migrations import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute([])


def downgrade() -> None:
    statements.execute([])
