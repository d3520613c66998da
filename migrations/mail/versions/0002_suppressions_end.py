"""Suppressions that end by themselves, and what each gateway answered to its recent recipients (ADR 0024).

A suppression that a bounce or refusal caused before this revision ends 30 days after it, the default of
MAIL_SUPPRESSION_DAYS. One that a person asked for (a complaint, an operator) never ends.

Revises: 0001
"""

from alembic import op

from migrations import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Few rows a gateway: each write deletes the oldest. Hence the fillfactor.
_GATEWAY_RECIPIENTS = """
CREATE TABLE gateway_recipients (
    gateway text NOT NULL,
    recipient bytea NOT NULL CHECK (length(recipient) = 16),
    domain text NOT NULL,
    refused boolean NOT NULL,
    domain_accepted boolean NOT NULL DEFAULT false CHECK (refused OR NOT domain_accepted),
    at timestamptz NOT NULL,
    PRIMARY KEY (gateway, recipient)
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            """
            ALTER TABLE suppressions
                ADD COLUMN ends_at timestamptz CHECK (ends_at IS NULL OR source IN ('smtp', 'bounce'))
            """,
            "UPDATE suppressions SET ends_at = now() + interval '30 days' WHERE source IN ('smtp', 'bounce')",
            "CREATE INDEX suppressions_ends ON suppressions (ends_at) WHERE ends_at IS NOT NULL",
            _GATEWAY_RECIPIENTS,
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON gateway_recipients TO {role}",
        ]
    )


def downgrade() -> None:
    op.execute("DROP TABLE gateway_recipients")
    op.execute("ALTER TABLE suppressions DROP COLUMN ends_at")
