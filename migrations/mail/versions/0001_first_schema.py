"""The mail database: every mail asked for, what is still to be sent, each attempt, and what happened.

Revises: nothing
"""

from alembic import op

from migrations import statements

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_STATES = (
    "'queued', 'sending', 'deferred', 'sent', 'bounced', 'uncertain', 'failed', 'canceled', 'expired', 'suppressed'"
)
# The states that an operator asks for.
_RARE = "state IN ('uncertain', 'failed', 'bounced', 'expired', 'canceled', 'suppressed')"

_MAILS = (
    # The ledger. (client, request_id) is unique for ever: no cache, no window (P4).
    f"""
    CREATE TABLE mails (
        id uuid PRIMARY KEY,
        client text NOT NULL,
        request_id text NOT NULL CHECK (length(request_id) BETWEEN 1 AND 255),
        fingerprint bytea NOT NULL CHECK (length(fingerprint) = 32),
        state text NOT NULL CHECK (state IN ({_STATES})),
        to_email text,
        to_key text,
        to_name text,
        template text,
        template_version text,
        locale text,
        tags text[] NOT NULL DEFAULT '{{}}',
        metadata jsonb NOT NULL DEFAULT '{{}}' CHECK (jsonb_typeof(metadata) = 'object'),
        on_uncertain text NOT NULL CHECK (on_uncertain IN ('hold', 'resend')),
        lane text NOT NULL CHECK (lane IN ('live', 'bulk')),
        attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        gateway text,
        message_id text NOT NULL,
        accepted_at timestamptz NOT NULL DEFAULT now(),
        send_at timestamptz,
        sent_at timestamptz,
        next_attempt_at timestamptz,
        expires_at timestamptz NOT NULL,
        failure_reason text,
        failure_code smallint,
        failure_enhanced_code text,
        failure_reply text,
        restored boolean NOT NULL DEFAULT false,
        correlation_id text,
        traceparent text,
        rare_state text GENERATED ALWAYS AS (CASE WHEN {_RARE} THEN state END) STORED,
        UNIQUE (client, request_id),
        CHECK ((state IN ('sent', 'bounced')) = (sent_at IS NOT NULL)),
        CHECK ((state IN ('queued', 'sending', 'deferred')) = (next_attempt_at IS NOT NULL)),
        CHECK (state NOT IN ('failed', 'deferred', 'uncertain', 'bounced') OR failure_reason IS NOT NULL),
        CHECK ((to_email IS NULL) = (to_key IS NULL))
    ) WITH (fillfactor = 70)
    """,
    "CREATE INDEX mails_client ON mails (client, id)",
    "CREATE INDEX mails_to ON mails (to_key, id)",
    "CREATE INDEX mails_metadata ON mails USING gin (metadata jsonb_path_ops)",
    "CREATE INDEX mails_accepted ON mails USING brin (accepted_at)",
    # PostgreSQL updates a row without touching any index (a heap-only tuple) when no indexed column changes, and a
    # column in a partial index's predicate counts as indexed. So the index of states stands on a column that an
    # ordinary mail leaves NULL: with `state` in one, each of a mail's two updates wrote all six indexes.
    "CREATE INDEX mails_rare_state ON mails (rare_state, id) WHERE rare_state IS NOT NULL",
    # A mail of our own making has its ID in its Message-ID; one that was restored has that of the lost record.
    "CREATE INDEX mails_restored ON mails (message_id) WHERE restored",
    # What was asked for and what goes out, pinned at accept; apart from the ledger, so that it can be wiped.
    """
    CREATE TABLE contents (
        mail_id uuid PRIMARY KEY REFERENCES mails (id),
        request jsonb NOT NULL,
        sender_email text NOT NULL,
        sender_name text,
        reply_to_email text,
        reply_to_name text,
        subject text NOT NULL,
        text text NOT NULL,
        html text,
        headers jsonb NOT NULL DEFAULT '{}'
    )
    """,
)

# Narrow and short-lived: one row for each mail that still has to go out. See the outbox of signup for the settings.
_QUEUE = (
    """
    CREATE TABLE queue (
        mail_id uuid PRIMARY KEY REFERENCES mails (id),
        lane text NOT NULL CHECK (lane IN ('live', 'bulk')),
        due_at timestamptz NOT NULL,
        lease uuid,
        attempt integer NOT NULL DEFAULT 0 CHECK (attempt >= 0)
    ) WITH (
        fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 10000
    )
    """,
    "CREATE INDEX queue_due ON queue (lane, due_at)",
    """
    CREATE TABLE attempts (
        mail_id uuid NOT NULL REFERENCES mails (id),
        n integer NOT NULL CHECK (n > 0),
        lease uuid NOT NULL,
        gateway text,
        phase text NOT NULL DEFAULT 'claimed' CHECK (phase IN ('claimed', 'transmitting', 'ended')),
        outcome text CHECK (outcome IN ('accepted', 'refused', 'try_later', 'unknown', 'gateway_fault')),
        counted boolean NOT NULL DEFAULT false,
        claimed_at timestamptz NOT NULL DEFAULT now(),
        transmitting_at timestamptz,
        ended_at timestamptz,
        code smallint,
        enhanced_code text,
        reply text,
        PRIMARY KEY (mail_id, n),
        CHECK ((phase = 'ended') = (outcome IS NOT NULL)),
        CHECK ((phase = 'ended') = (ended_at IS NOT NULL)),
        CHECK (phase <> 'transmitting' OR transmitting_at IS NOT NULL),
        CHECK (outcome <> 'accepted' OR transmitting_at IS NOT NULL),
        CHECK (outcome <> 'gateway_fault' OR NOT counted)
    ) WITH (fillfactor = 70)
    """,
)

_SUPPRESSIONS = (
    """
    CREATE TABLE suppressions (
        email_key text PRIMARY KEY,
        email text NOT NULL,
        reason text NOT NULL,
        source text NOT NULL,
        mail_id uuid REFERENCES mails (id),
        created_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    # For erasure, and for the question which mail it was.
    "CREATE INDEX suppressions_mail ON suppressions (mail_id) WHERE mail_id IS NOT NULL",
)

_BOUNCES = (
    # Notices about mails that had left. `digest` covers the whole notice, so a repeated one counts once.
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
    # For retention: only notices whose text is not wiped yet.
    "CREATE INDEX bounces_worded ON bounces (received_at) WHERE diagnostic IS NOT NULL",
)

_REMEMBER = """
            INSERT INTO public.lost_mails AS l
                (request_id, client, mail_id, fingerprint, state, message_id, accepted_at, sent_at)
            SELECT request_id, client, id, fingerprint, state, message_id, accepted_at, sent_at FROM {gone}
            ON CONFLICT (request_id, client) DO UPDATE SET
                mail_id = excluded.mail_id, fingerprint = excluded.fingerprint, state = excluded.state,
                message_id = excluded.message_id, accepted_at = excluded.accepted_at, sent_at = excluded.sent_at,
                lost_at = now()
            WHERE l.sent_at IS NULL;
"""

# No process deletes a mail. Deleting one by hand removes the row that keeps its request ID (P4) and that it was sent
# (P5). Both stay here, without personal data.
_LOST = (
    """
    CREATE TABLE lost_mails (
        request_id text NOT NULL,
        client text NOT NULL,
        mail_id uuid NOT NULL,
        fingerprint bytea NOT NULL,
        state text NOT NULL,
        message_id text NOT NULL,
        accepted_at timestamptz NOT NULL,
        sent_at timestamptz,
        lost_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (request_id, client)
    )
    """,
    "CREATE INDEX lost_mails_lost ON lost_mails (lost_at)",
    # A request ID may be lost more than once. `sent_at` is never removed again.
    f"""
    CREATE FUNCTION remember_lost_mails() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        IF TG_OP = 'TRUNCATE' THEN
            {_REMEMBER.format(gone="public.mails")}
            DELETE FROM public.queue;
        ELSE
            {_REMEMBER.format(gone="gone")}
            DELETE FROM public.queue q USING gone WHERE q.mail_id = gone.id;
        END IF;
        RETURN NULL;
    END $$
    """,
    "REVOKE ALL ON FUNCTION remember_lost_mails() FROM PUBLIC",
    """
    CREATE TRIGGER mails_leave_a_trace AFTER DELETE ON mails REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION remember_lost_mails()
    """,
    """
    CREATE TRIGGER mails_leave_all_traces BEFORE TRUNCATE ON mails
    FOR EACH STATEMENT EXECUTE FUNCTION remember_lost_mails()
    """,
    # Also when foreign keys are off (session_replication_role).
    "ALTER TABLE mails ENABLE ALWAYS TRIGGER mails_leave_a_trace",
    "ALTER TABLE mails ENABLE ALWAYS TRIGGER mails_leave_all_traces",
    # In a function every statement has a snapshot of its own, so it sees what was deleted while the insert waited.
    """
    CREATE FUNCTION refuse_lost_mails() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, public, pg_temp AS $$
    BEGIN
        IF EXISTS (
            SELECT FROM fresh f WHERE f.state = 'queued' AND (
                SELECT true FROM public.lost_mails l
                WHERE l.request_id = f.request_id AND l.client = f.client
                  AND l.state NOT IN ('queued', 'deferred')
                  AND NOT (l.state = 'sending' AND f.on_uncertain = 'resend' AND l.fingerprint = f.fingerprint)
            )
        ) THEN
            RAISE EXCEPTION 'a mail of this request ID has just been deleted: look again'
                USING ERRCODE = 'serialization_failure';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER mails_are_not_lost_ones AFTER INSERT ON mails REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_lost_mails()
    """,
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

# Every line of history has a position in the feed of changes: the number of the transaction that wrote it. A reader
# stops below the oldest transaction still writing, so nothing can appear behind its cursor. `base` keeps positions
# rising when a dump is restored into a cluster that counts its transactions anew.
_FEED = (
    "CREATE TABLE feed_base (singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton), base bigint NOT NULL)",
    "INSERT INTO feed_base (base) VALUES (0)",
    """
    CREATE FUNCTION feed_position() RETURNS bigint LANGUAGE sql STABLE AS $$
        SELECT base + pg_current_xact_id()::text::bigint FROM feed_base
    $$
    """,
    """
    CREATE FUNCTION feed_horizon() RETURNS bigint LANGUAGE sql STABLE AS $$
        SELECT base + pg_snapshot_xmin(pg_current_snapshot())::text::bigint FROM feed_base
    $$
    """,
    "ALTER TABLE history ADD COLUMN position bigint NOT NULL DEFAULT feed_position()",
    "CREATE INDEX history_position ON history (position, id)",
    """
    CREATE FUNCTION rebase_feed() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp AS $$
    DECLARE
        newest bigint;
    BEGIN
        SELECT max(position) INTO newest FROM public.history;
        -- The transaction numbers of this cluster lie behind those in the ledger: the ledger came from another one.
        UPDATE public.feed_base SET base = newest WHERE newest > public.feed_position();
        RETURN FOUND;
    END $$
    """,
    "REVOKE ALL ON FUNCTION rebase_feed() FROM PUBLIC",
)


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            *_MAILS,
            *_QUEUE,
            *_SUPPRESSIONS,
            *_BOUNCES,
            *_LOST,
            *_RETENTION,
            *_RATES,
            *statements.COMMON,
            *_FEED,
            *statements.partitioned("history"),
            *statements.for_runtime_role(
                role,
                append_only=("history",),
                updated=("bounces", "retention_runs", "gateway_rates"),
                deleted=("mails", "contents", "queue", "attempts", "suppressions", *statements.COMMON_TABLES),
                functions=("rebase_feed()",),
            ),
            f"GRANT SELECT ON feed_base, lost_mails TO {role}",
        ]
    )


def downgrade() -> None:
    for table in (
        "gateway_rates",
        "retention_runs",
        "bounces",
        "suppressions",
        "attempts",
        "queue",
        "contents",
        "mails",
        "lost_mails",
        "history",
    ):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION remember_lost_mails(), refuse_lost_mails()")
    op.execute("DROP FUNCTION rebase_feed(), feed_horizon(), feed_position()")
    op.execute("DROP TABLE feed_base")
    statements.execute(statements.DROP_COMMON)
