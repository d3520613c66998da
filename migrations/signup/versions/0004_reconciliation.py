"""What became of each mail, and the runs that lay both books side by side.

Revises: 0003
"""

from migrations import statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute([])


def downgrade() -> None:
    statements.execute([])
