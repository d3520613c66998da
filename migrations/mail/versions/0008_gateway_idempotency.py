"""Attempts that carry a key by which the gateway deduplicates, and until when it is asked again (ADR 0033).

Revises: 0007
"""

from migrations import statements

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# NOT VALID: attempts of before have neither column, and the check would read them all while the mail worker waits.
_KEYED = """
ALTER TABLE attempts ADD CONSTRAINT attempts_idempotency_check CHECK (
    (idempotency_header IS NULL) = (ask_until IS NULL)
    AND (idempotency_header IS NULL OR (gateway IS NOT NULL AND transmitting_at IS NOT NULL))
) NOT VALID
"""


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            "ALTER TABLE attempts ADD COLUMN idempotency_header text, ADD COLUMN ask_until timestamptz",
            _KEYED,
            "ALTER TABLE mails ADD COLUMN resends smallint NOT NULL DEFAULT 0",
            f"GRANT UPDATE (resends) ON mails TO {role}",
        ]
    )


def downgrade() -> None:
    statements.execute(
        [
            "ALTER TABLE mails DROP COLUMN resends",
            "ALTER TABLE attempts DROP COLUMN idempotency_header, DROP COLUMN ask_until",
        ]
    )
