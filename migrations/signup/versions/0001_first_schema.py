"""The signup database: users, what is owed to them, imports, reconciliation, and what happened.

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
    # Beside the unique one, which begins with the source: without statistics a planner would scan a whole source.
    "CREATE INDEX users_external_id ON users (external_id) WHERE external_id IS NOT NULL",
    # The cleanup reads pending users from the oldest on; new ones are added at the right edge.
    "CREATE INDEX users_pending ON users (id) WHERE status = 'pending'",
    # Cheap for a signup: this one holds erased users only, BRIN one entry for each range of pages.
    "CREATE INDEX users_erased ON users (erased_at) WHERE erased_at IS NOT NULL",
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
    "CREATE INDEX idempotency_keys_created ON idempotency_keys USING brin (created_at)",
)

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
        cleaned_at timestamptz,
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
    # The imports that loops look for. Finished imports that are cleaned up are not in it.
    """
    CREATE INDEX imports_open ON imports (state, id)
    WHERE state IN ('receiving', 'running', 'paused') OR (state IN ('failed', 'canceled') AND cleaned_at IS NULL)
    """,
)

_ROWS = (
    # `raw` is the row as received, as JSON, until it has its outcome; bytes, because it may be anything.
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

# The outbox is the queue, and stays tiny: settled rows leave it in the settling statement. Half-empty pages and an
# eager autovacuum keep its updates in place and its index short, however large the settled rows grow.
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
        import_id uuid REFERENCES imports (id),
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
    "CREATE INDEX outbox_import ON outbox (import_id, due_at) WHERE import_id IS NOT NULL",
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
    # Reconciliation scans what was asked for in a window; a scan by ID would trust every ID to hold its time.
    "CREATE INDEX outbox_settled_created ON outbox_settled (created_at, id) WHERE effect = 'mail'",
)

_STATISTICS = """
CREATE TABLE signup_statistics (
    day date NOT NULL,
    kind text NOT NULL CHECK (kind IN ('signups', 'verifications')),
    count bigint NOT NULL CHECK (count > 0),
    PRIMARY KEY (day, kind)
) WITH (fillfactor = 50)
"""

# No secret stands here: it is derived from a key of SIGNUP_TOKEN_KEYS, the ID and the version.
_SUBSCRIBERS = (
    """
    CREATE TABLE webhook_subscribers (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        client text NOT NULL CHECK (length(client) BETWEEN 1 AND 100),
        url text NOT NULL CHECK (length(url) BETWEEN 8 AND 2000),
        events text[] NOT NULL CHECK (
            cardinality(events) > 0
            AND events <@ ARRAY['user.signed_up', 'user.imported', 'user.verified', 'user.erased']
        ),
        key_id text NOT NULL,
        secret_version integer NOT NULL DEFAULT 1 CHECK (secret_version > 0),
        previous_key_id text,
        rotated_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        disabled_at timestamptz,
        disabled_reason text,
        CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
        CHECK ((rotated_at IS NULL) = (previous_key_id IS NULL)),
        CHECK ((rotated_at IS NULL) = (secret_version = 1))
    )
    """,
    "CREATE INDEX webhook_subscribers_client ON webhook_subscribers (client, id)",
)

_MAIL_OUTCOMES = (
    # The outcome of each mail as the mail service's feed reported it, kept for ever (P6). `sent_at` and `fingerprint`
    # stay once they are set, also after the mail database was restored to an earlier time.
    """
    CREATE TABLE mail_outcomes (
        request_id text PRIMARY KEY,
        mail_id uuid NOT NULL,
        state text NOT NULL,
        message_id text NOT NULL,
        fingerprint text NOT NULL,
        sent_at timestamptz,
        failure_code integer,
        failure_enhanced_code text,
        changed_at timestamptz NOT NULL
    ) WITH (fillfactor = 70)
    """,
    # The follower's cursor. It moves in the commit that writes what was read, and only from where it was read.
    """
    CREATE TABLE mail_feed (
        singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
        cursor text,
        moved_at timestamptz NOT NULL DEFAULT now()
    ) WITH (fillfactor = 50)
    """,
    "INSERT INTO mail_feed DEFAULT VALUES",
)

_RUNS = (
    """
    CREATE TABLE reconciliation_runs (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        state text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'done', 'failed')),
        verdict text NOT NULL DEFAULT 'incomplete' CHECK (verdict IN ('balanced', 'out_of_balance', 'incomplete')),
        window_from timestamptz NOT NULL,
        window_to timestamptz NOT NULL,
        repair boolean NOT NULL,
        actor text NOT NULL,
        correlation_id text,
        phase text NOT NULL DEFAULT 'waiting',
        position jsonb,
        compared bigint NOT NULL DEFAULT 0,
        missing bigint NOT NULL DEFAULT 0,
        lost_records bigint NOT NULL DEFAULT 0,
        unexpected bigint NOT NULL DEFAULT 0,
        different bigint NOT NULL DEFAULT 0,
        stuck bigint NOT NULL DEFAULT 0,
        unserved_users bigint NOT NULL DEFAULT 0,
        known bigint NOT NULL DEFAULT 0,
        repaired jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(repaired) = 'object'),
        examples jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(examples) = 'object'),
        due_at timestamptz DEFAULT now(),
        lease uuid,
        faults integer NOT NULL DEFAULT 0 CHECK (faults >= 0),
        last_error text,
        started_at timestamptz NOT NULL DEFAULT now(),
        finished_at timestamptz,
        CHECK ((state = 'running') = (finished_at IS NULL)),
        CHECK ((state = 'running') = (due_at IS NOT NULL)),
        CHECK (state = 'running' OR lease IS NULL),
        CHECK (state = 'done' OR verdict = 'incomplete'),
        CHECK (verdict <> 'balanced' OR (
            compared > 0 AND missing + lost_records + unexpected + different + stuck + unserved_users = 0
        ))
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX reconciliation_runs_running ON reconciliation_runs (id) WHERE state = 'running'",
    "CREATE INDEX reconciliation_runs_balanced ON reconciliation_runs (window_to) WHERE verdict = 'balanced'",
    # Every finding, once. `mark` digests what was seen: a finding that cannot be repaired is reported again when its
    # mark has changed, and is `known` when it has not (ADR 0008).
    """
    CREATE TABLE reconciliation_findings (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        run_id uuid NOT NULL REFERENCES reconciliation_runs (id),
        kind text NOT NULL CHECK (
            kind IN ('missing', 'lost_records', 'unexpected', 'different', 'stuck', 'unserved_users')
        ),
        request_id text NOT NULL,
        mail_id uuid,
        user_id uuid,
        reason text NOT NULL,
        mark text NOT NULL,
        repairable boolean NOT NULL,
        found_at timestamptz NOT NULL DEFAULT now(),
        repaired_at timestamptz,
        UNIQUE (kind, request_id)
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX reconciliation_findings_run ON reconciliation_findings (run_id, kind, id)",
)

# `outbox_settled` is append-only for the runtime role, with one exception: this function removes personal data from the
# rows of users who are already erased.
_ERASE = """
CREATE FUNCTION erase_user_payloads(erased uuid[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    changed integer;
BEGIN
    IF EXISTS (SELECT FROM users WHERE id = ANY (erased) AND status <> 'erased') THEN
        RAISE EXCEPTION 'only payloads of erased users are erased' USING ERRCODE = 'restrict_violation';
    END IF;
    UPDATE outbox_settled SET payload = payload - 'to' WHERE user_id = ANY (erased) AND payload ? 'to';
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END $$
"""

# The second exception: a mail that must be requested again moves back to the outbox, in one statement. A mail that is
# known to have been sent never does.
_REQUEUE = """
CREATE FUNCTION requeue_mails_not_known_sent(ids uuid[], give_up_seconds double precision)
RETURNS TABLE (id uuid, user_id uuid, mail_id text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    WITH gone AS (
        DELETE FROM outbox_settled s
        WHERE s.id = ANY (ids) AND s.effect = 'mail' AND s.outcome = 'delivered'
          AND s.payload #>> '{to,email}' IS NOT NULL
          AND NOT EXISTS (SELECT FROM outbox o WHERE o.id = s.id)
          AND NOT EXISTS (
              SELECT FROM mail_outcomes f WHERE f.request_id = s.id::text AND f.sent_at IS NOT NULL
          )
        RETURNING s.*
    ), owed AS (
        INSERT INTO outbox (id, effect, user_id, payload, created_at, expires_at, correlation_id, traceparent)
        SELECT gone.id, gone.effect, gone.user_id, gone.payload, gone.created_at,
               now() + make_interval(secs => give_up_seconds), gone.correlation_id, gone.traceparent
        FROM gone
    )
    SELECT gone.id, gone.user_id, gone.result ->> 'mail_id' FROM gone
$$
"""


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            *_USERS,
            *_IMPORTS,
            *_ROWS,
            *_OUTBOX,
            _STATISTICS,
            *_SUBSCRIBERS,
            *_MAIL_OUTCOMES,
            *_RUNS,
            *statements.COMMON,
            *statements.partitioned("history", "outbox_settled"),
            _ERASE,
            _REQUEUE,
            *statements.for_runtime_role(
                role,
                append_only=("history", "outbox_settled"),
                updated=("signup_statistics", "mail_outcomes", "reconciliation_runs", "reconciliation_findings"),
                deleted=(
                    "users",
                    "idempotency_keys",
                    "outbox",
                    "imports",
                    "import_rows",
                    "webhook_subscribers",
                    *statements.COMMON_TABLES,
                ),
                functions=("erase_user_payloads(uuid[])", "requeue_mails_not_known_sent(uuid[], double precision)"),
            ),
            f"GRANT SELECT, UPDATE ON mail_feed TO {role}",
        ]
    )


def downgrade() -> None:
    op.execute("DROP FUNCTION requeue_mails_not_known_sent(uuid[], double precision), erase_user_payloads(uuid[])")
    for table in (
        "reconciliation_findings",
        "reconciliation_runs",
        "mail_feed",
        "mail_outcomes",
        "webhook_subscribers",
        "signup_statistics",
        "outbox_settled",
        "outbox",
        "import_rows",
        "imports",
        "idempotency_keys",
        "users",
    ):
        op.execute(f"DROP TABLE {table}")
    statements.execute(statements.DROP_COMMON)
