"""Imports: files of users on their way in, row by row.

Revises: 0001
"""

from migrations import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_IMPORTS = (
    """
    CREATE TABLE imports (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        client text NOT NULL CHECK (length(client) BETWEEN 1 AND 100),
        idempotency_key text CHECK (length(idempotency_key) BETWEEN 1 AND 255),
        source text NOT NULL CHECK (length(source) BETWEEN 1 AND 100),
        media text NOT NULL CHECK (media IN ('ndjson', 'csv')),
        dry_run boolean NOT NULL,
        mails_per_minute integer NOT NULL CHECK (mails_per_minute >= 0),
        state text NOT NULL DEFAULT 'receiving'
            CHECK (state IN ('receiving', 'running', 'paused', 'done', 'canceled', 'failed')),
        receiver uuid,
        received_at timestamptz NOT NULL DEFAULT now(),
        body_digest bytea CHECK (length(body_digest) = 32),
        row_count integer NOT NULL DEFAULT 0 CHECK (row_count >= 0),
        done_through_line integer NOT NULL DEFAULT 0 CHECK (done_through_line >= 0),
        created integer NOT NULL DEFAULT 0 CHECK (created >= 0),
        already_exists integer NOT NULL DEFAULT 0 CHECK (already_exists >= 0),
        duplicate integer NOT NULL DEFAULT 0 CHECK (duplicate >= 0),
        invalid integer NOT NULL DEFAULT 0 CHECK (invalid >= 0),
        mails_owed integer NOT NULL DEFAULT 0 CHECK (mails_owed >= 0),
        next_mail_at timestamptz,
        failure text,
        swept_at timestamptz,
        actor text NOT NULL,
        correlation_id text,
        traceparent text,
        created_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz,
        UNIQUE (client, idempotency_key),
        CHECK ((state = 'receiving') = (receiver IS NOT NULL)),
        CHECK (state IN ('receiving', 'failed', 'canceled') OR body_digest IS NOT NULL),
        CHECK ((state IN ('done', 'canceled', 'failed')) = (finished_at IS NOT NULL)),
        CHECK ((state = 'failed') = (failure IS NOT NULL)),
        CHECK (created + already_exists + duplicate + invalid <= row_count)
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX imports_client ON imports (client, id)",
    # What loops look for; those that are over and cleared away are not in it, however many there are.
    """
    CREATE INDEX imports_open ON imports (state, id)
    WHERE state IN ('receiving', 'running', 'paused') OR (state IN ('failed', 'canceled') AND swept_at IS NULL)
    """,
)

_ROWS = (
    # `raw` is the row as it came, as JSON, until it has its outcome; bytes, because it may be anything.
    """
    CREATE TABLE import_rows (
        import_id uuid NOT NULL REFERENCES imports (id) ON DELETE CASCADE,
        line integer NOT NULL CHECK (line > 0),
        raw bytea,
        outcome text CHECK (outcome IN ('created', 'already_exists', 'duplicate', 'invalid')),
        reason text,
        external_id text,
        email text,
        email_key text,
        user_id uuid REFERENCES users (id),
        PRIMARY KEY (import_id, line),
        CHECK (CASE WHEN outcome IS NULL THEN num_nonnulls(raw, reason) = 1 ELSE raw IS NULL END),
        CHECK (outcome IS NULL OR (outcome = 'created') = (reason IS NULL))
    ) WITH (fillfactor = 70)
    """,
    # Whether an earlier line had the same; and, by `email_key` or `user_id` alone, whose data is to be erased.
    "CREATE INDEX import_rows_email ON import_rows (email_key, import_id) WHERE email_key IS NOT NULL",
    "CREATE INDEX import_rows_user ON import_rows (user_id) WHERE user_id IS NOT NULL",
    """
    CREATE UNIQUE INDEX import_rows_external_id ON import_rows (external_id, import_id)
    WHERE outcome IN ('created', 'already_exists')
    """,
    # The report of what went wrong; most rows are `created`.
    "CREATE INDEX import_rows_trouble ON import_rows (import_id, outcome, line) WHERE outcome <> 'created'",
)

# Beside the unique one, which begins with the source: a planner without statistics would rather walk a whole source.
_USERS = "CREATE INDEX users_external_id ON users (external_id) WHERE external_id IS NOT NULL"

_OUTBOX = (
    "ALTER TABLE outbox ADD COLUMN import_id uuid REFERENCES imports (id)",
    "CREATE INDEX outbox_import ON outbox (import_id, due_at) WHERE import_id IS NOT NULL",
)


def upgrade() -> None:
    tables = ("imports", "import_rows")
    rights = (f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {statements.runtime_role()}" for table in tables)
    statements.execute([*_IMPORTS, *_ROWS, _USERS, *_OUTBOX, *rights])


def downgrade() -> None:
    statements.execute(
        [
            "ALTER TABLE outbox DROP COLUMN import_id",
            "DROP INDEX users_external_id",
            "DROP TABLE import_rows",
            "DROP TABLE imports",
        ]
    )
