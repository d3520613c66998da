"""Functions that run with their owner's rights look at temporary tables last.

Revises: 0006
"""

from migrations import statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute(statements.TEMPORARY_TABLES_LAST)


def downgrade() -> None:
    """Nothing: the functions do the same as before."""
