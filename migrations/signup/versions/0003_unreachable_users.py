"""The mails that did not reach their recipient, so that operators see who cannot be reached (ADR 0024).

Adding the column rewrites `mail_outcomes`: about a minute for 10 million mails, during which no outcome is written.

Revises: 0002
"""

from alembic import op

from migrations import statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    statements.execute(
        [
            # NULL for an ordinary mail, so that its updates stay heap-only: see `mails.rare_state` of the mail service.
            # Otherwise the outbox row that asked for the mail. The client has mails of other IDs, too: alerts.
            r"""
            ALTER TABLE mail_outcomes ADD COLUMN unreached uuid GENERATED ALWAYS AS (
                CASE WHEN state IN ('suppressed', 'failed', 'bounced', 'expired')
                      AND request_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                THEN request_id::uuid END
            ) STORED
            """,
            "CREATE INDEX mail_outcomes_unreached ON mail_outcomes (unreached) WHERE unreached IS NOT NULL",
        ]
    )


def downgrade() -> None:
    op.execute("ALTER TABLE mail_outcomes DROP COLUMN unreached")
