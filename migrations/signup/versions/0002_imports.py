"""Imports: files of users on their way in, row by row.

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
