"""Counts the mails that callers without a key cause: to each address, and to all together (ADR 0028).

Revises: 0004
"""

from migrations import statements

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_COLUMNS = "stranger_mails, window_began_at, mails_in_window"


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            """
            ALTER TABLE users
                ADD COLUMN stranger_mails integer NOT NULL DEFAULT 0 CHECK (stranger_mails >= 0),
                ADD COLUMN window_began_at timestamptz,
                ADD COLUMN mails_in_window integer NOT NULL DEFAULT 0 CHECK (mails_in_window >= 0)
            """,
            f"GRANT UPDATE ({_COLUMNS}) ON users TO {role}",
            """
            CREATE TABLE stranger_mail_budget (
                singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
                spent_until timestamptz NOT NULL DEFAULT 'epoch'
            ) WITH (fillfactor = 20)
            """,
            "INSERT INTO stranger_mail_budget DEFAULT VALUES",
            f"GRANT SELECT ON stranger_mail_budget TO {role}",
            f"GRANT UPDATE (spent_until) ON stranger_mail_budget TO {role}",
        ]
    )


def downgrade() -> None:
    statements.execute(
        [
            "DROP TABLE stranger_mail_budget",
            "ALTER TABLE users DROP COLUMN stranger_mails, DROP COLUMN window_began_at, DROP COLUMN mails_in_window",
        ]
    )
