"""Bounces and complaints, what is kept for how long, and the rate that all workers share.

Revises: 0001
"""

from alembic import op

from migrations import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_BOUNCES = (
    # What came back about mails that had left. `digest` is of the whole notice, so the same one counts once.
    """
    CREATE TABLE bounces (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        received_at timestamptz NOT NULL DEFAULT now(),
        mail_id uuid REFERENCES mails (id),
        digest bytea NOT NULL UNIQUE CHECK (length(digest) = 32),
        kind text NOT NULL CHECK (kind IN ('failed', 'delayed', 'delivered', 'complaint', 'other')),
        outcome text NOT NULL
            CHECK (outcome IN ('bounced', 'delayed', 'delivered', 'complaint', 'ignored', 'unmatched')),
        status text,
        code smallint,
        diagnostic text CHECK (length(diagnostic) <= 2000),
        CHECK ((outcome = 'unmatched') = (mail_id IS NULL))
    )
    """,
    "CREATE INDEX bounces_mail ON bounces (mail_id, id)",
    # For retention: only what still has words to wipe.
    "CREATE INDEX bounces_worded ON bounces (received_at) WHERE diagnostic IS NOT NULL",
    # A mail of our own making has its ID in its Message-ID; one that was restored has that of the lost record.
    "CREATE INDEX mails_restored ON mails (message_id) WHERE restored",
    # For erasure, and for whoever asks which mail it was.
    "CREATE INDEX suppressions_mail ON suppressions (mail_id) WHERE mail_id IS NOT NULL",
)

_RETENTION = (
    """
    CREATE TABLE retention_runs (
        singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        ran_at timestamptz NOT NULL,
        contents_wiped bigint NOT NULL DEFAULT 0 CHECK (contents_wiped >= 0),
        addresses_wiped bigint NOT NULL DEFAULT 0 CHECK (addresses_wiped >= 0)
    )
    """,
)

# One row for each gateway with a rate: when its next mail may go. Written for every few mails, hence the fillfactor.
_RATES = (
    """
    CREATE TABLE gateway_rates (
        gateway text PRIMARY KEY,
        next_at timestamptz NOT NULL
    ) WITH (fillfactor = 20)
    """,
)


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            *_BOUNCES,
            *_RETENTION,
            *_RATES,
            f"GRANT SELECT, INSERT, UPDATE ON bounces, retention_runs, gateway_rates TO {role}",
        ]
    )


def downgrade() -> None:
    op.execute("DROP INDEX suppressions_mail, mails_restored")
    for table in ("gateway_rates", "retention_runs", "bounces"):
        op.execute(f"DROP TABLE {table}")
