"""Months of history and settled outbox rows are dropped behind, and the database says from when on they are kept.

Revises: 0005
"""

from migrations import retention, statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute(retention.dropping("history", "outbox_settled"))


def downgrade() -> None:
    statements.execute(retention.NO_DROPPING)
