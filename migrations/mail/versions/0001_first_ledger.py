"""The mail ledger: every mail asked for, what is still to be sent, each attempt, and what happened.

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
    # The states that an operator asks for are rare ones.
    """
    CREATE INDEX mails_state ON mails (state, id)
    WHERE state IN ('uncertain', 'failed', 'bounced', 'expired', 'canceled', 'suppressed')
    """,
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
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
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
    statements.execute(
        [
            *_MAILS,
            *_QUEUE,
            *_SUPPRESSIONS,
            *statements.HISTORY,
            *_FEED,
            *statements.API_KEYS,
            *statements.HEARTBEATS,
            *statements.partitioned("history"),
            *statements.grants(
                statements.runtime_role(),
                append_only=("history",),
                tables=("mails", "contents", "queue", "attempts", "suppressions", "api_keys", "heartbeats"),
            ),
            f"GRANT SELECT ON feed_base TO {statements.runtime_role()}",
            f"GRANT EXECUTE ON FUNCTION rebase_feed() TO {statements.runtime_role()}",
        ]
    )


def downgrade() -> None:
    for table in ("suppressions", "attempts", "queue", "contents", "mails", "history", "api_keys", "heartbeats"):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION rebase_feed(), feed_horizon(), feed_position()")
    op.execute("DROP TABLE feed_base")
    op.execute("DROP FUNCTION ensure_partitions(integer)")
    op.execute("DROP FUNCTION refuse_change()")
