"""Remembers the challenges that were solved and used, so that each is good once (ADR 0029).

Revises: 0005
"""

from migrations import statements

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute(
        [
            """
            CREATE TABLE used_challenges (
                id bytea PRIMARY KEY CHECK (octet_length(id) = 32),
                used_at timestamptz NOT NULL DEFAULT now()
            )
            """,
            f"GRANT SELECT, INSERT, DELETE ON used_challenges TO {statements.runtime_role()}",
        ]
    )


def downgrade() -> None:
    statements.execute(["DROP TABLE used_challenges"])
