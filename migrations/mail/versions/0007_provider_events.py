"""Providers' events beside notices: whose event it is, and the tokens of signatures that do not cover the body.

Revises: 0006
"""

from migrations import statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Both are SHA-256. Each write deletes the oldest that have expired, hence the fillfactor.
_TOKENS = """
CREATE TABLE provider_event_tokens (
    token bytea PRIMARY KEY CHECK (length(token) = 32),
    body bytea NOT NULL CHECK (length(body) = 32),
    seen_at timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 50)
"""


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            "ALTER TABLE bounces ADD COLUMN provider text CHECK (provider ~ '^[a-z]{1,20}$')",
            _TOKENS,
            "CREATE INDEX provider_event_tokens_seen ON provider_event_tokens (seen_at)",
            f"GRANT SELECT, INSERT, DELETE, UPDATE (seen_at) ON provider_event_tokens TO {role}",
        ]
    )


def downgrade() -> None:
    statements.execute(["DROP TABLE provider_event_tokens", "ALTER TABLE bounces DROP COLUMN provider"])
