"""Months of history are dropped behind, and the database says from when on they are kept.

Revises: 0003
"""

from migrations import retention, statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute(retention.dropping("history"))


def downgrade() -> None:
    statements.execute(retention.NO_DROPPING)
