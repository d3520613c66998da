"""The signup ledger: users, what is owed to them, and what happened.

Revises: nothing
"""

from alembic import op

from migrations import statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_USERS = (
    """
    CREATE TABLE users (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        email text CHECK (length(email) BETWEEN 3 AND 254),
        email_key text UNIQUE CHECK (email_key = lower(email_key) AND email_key ~ '^[^@]+@[^@]+$'),
        name text CHECK (length(name) BETWEEN 1 AND 200),
        locale text NOT NULL DEFAULT 'en',
        status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'verified', 'erased')),
        source text NOT NULL CHECK (length(source) BETWEEN 1 AND 100),
        external_id text,
        metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
        created_at timestamptz NOT NULL DEFAULT now(),
        updated_at timestamptz NOT NULL DEFAULT now(),
        verified_at timestamptz,
        erased_at timestamptz,
        last_mail_at timestamptz,
        UNIQUE (source, external_id),
        CHECK ((status = 'erased') = (erased_at IS NOT NULL)),
        CHECK (status <> 'pending' OR verified_at IS NULL),
        CHECK (status <> 'verified' OR verified_at IS NOT NULL),
        CHECK ((status = 'erased') = (email IS NULL)),
        CHECK ((email IS NULL) = (email_key IS NULL)),
        CHECK ((email IS NULL) = (name IS NULL))
    ) WITH (fillfactor = 85)
    """,
    "CREATE INDEX users_source ON users (source, id)",
    """
    CREATE TABLE idempotency_keys (
        scope text NOT NULL,
        key text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
        fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
        status smallint,
        answer jsonb,
        user_id uuid REFERENCES users (id),
        created_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (scope, key)
    )
    """,
    "CREATE INDEX idempotency_keys_user ON idempotency_keys (user_id)",
)

# The outbox is the queue, and stays tiny: settled rows leave it in the settling statement. Half-empty pages and an
# eager autovacuum keep its updates in place and its index short, whatever stands in the ledgers behind it.
_OUTBOX = (
    """
    CREATE TABLE outbox (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        effect text NOT NULL,
        user_id uuid REFERENCES users (id),
        payload jsonb NOT NULL CHECK (jsonb_typeof(payload) = 'object'),
        state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'leased', 'dead')),
        due_at timestamptz DEFAULT now(),
        lease uuid,
        attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        last_error text,
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz NOT NULL,
        dead_at timestamptz,
        correlation_id text,
        traceparent text,
        CHECK ((state = 'leased') = (lease IS NOT NULL)),
        CHECK ((state = 'dead') = (dead_at IS NOT NULL)),
        CHECK ((state = 'dead') = (due_at IS NULL)),
        CHECK (state <> 'dead' OR last_error IS NOT NULL)
    ) WITH (
        fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 10000
    )
    """,
    "CREATE INDEX outbox_due ON outbox (effect, due_at) WHERE due_at IS NOT NULL",
    "CREATE INDEX outbox_dead ON outbox (dead_at) WHERE state = 'dead'",
    "CREATE INDEX outbox_user ON outbox (user_id)",
    """
    CREATE TABLE outbox_settled (
        id uuid NOT NULL,
        effect text NOT NULL,
        user_id uuid,
        payload jsonb NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('delivered', 'canceled')),
        result jsonb NOT NULL DEFAULT '{}',
        attempts integer NOT NULL,
        created_at timestamptz NOT NULL,
        settled_at timestamptz NOT NULL DEFAULT now(),
        correlation_id text,
        traceparent text,
        PRIMARY KEY (id, settled_at)
    ) PARTITION BY RANGE (settled_at)
    """,
    "CREATE INDEX outbox_settled_user ON outbox_settled (user_id)",
)


def upgrade() -> None:
    statements.execute(
        [
            *_USERS,
            *_OUTBOX,
            *statements.HISTORY,
            *statements.API_KEYS,
            *statements.HEARTBEATS,
            *statements.partitioned("history", "outbox_settled"),
            *statements.grants(
                statements.runtime_role(),
                append_only=("history", "outbox_settled"),
                tables=("users", "idempotency_keys", "outbox", "api_keys", "heartbeats"),
            ),
        ]
    )


def downgrade() -> None:
    for table in ("outbox_settled", "outbox", "idempotency_keys", "users", "history", "api_keys", "heartbeats"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION ensure_partitions(integer)")
    op.execute("DROP FUNCTION refuse_change()")
