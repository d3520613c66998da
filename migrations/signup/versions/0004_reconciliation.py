"""What became of each mail, and the runs that lay both ledgers side by side.

Revises: 0003
"""

from migrations import statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_MAIL_OUTCOMES = (
    # What became of each mail, in signup's own words: read from the mail service's feed, kept for ever (P6).
    # `sent_at` and `fingerprint` are never taken back, whatever the other ledger says after it went back in time.
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
    # Where the follower stands. Moved in the commit that writes what was read, and only from where it was read.
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
    # Each thing that was ever found, once. `mark` is what was seen of it: a finding that cannot be repaired is named
    # again when its mark has changed, and is `known` when it has not (ADR 0007).
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

# Reconciliation walks what was asked for in a window; a walk by ID would trust every ID to hold its time.
_WALK = "CREATE INDEX outbox_settled_created ON outbox_settled (created_at, id) WHERE effect = 'mail'"

# The runtime role may only add to `outbox_settled`. A mail that must be asked for again goes back whole, in one
# statement, through this function alone; what is known to have been sent never does, whoever asks.
_REQUEUE = """
CREATE FUNCTION requeue_mails_not_known_sent(ids uuid[], give_up_seconds double precision)
RETURNS TABLE (id uuid, user_id uuid, mail_id text)
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
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
            *_MAIL_OUTCOMES,
            *_RUNS,
            _WALK,
            _REQUEUE,
            "REVOKE ALL ON FUNCTION requeue_mails_not_known_sent(uuid[], double precision) FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION requeue_mails_not_known_sent(uuid[], double precision) TO {role}",
            f"GRANT SELECT, INSERT, UPDATE ON mail_outcomes TO {role}",
            f"GRANT SELECT, UPDATE ON mail_feed TO {role}",
            f"GRANT SELECT, INSERT, UPDATE ON reconciliation_runs TO {role}",
            f"GRANT SELECT, INSERT, UPDATE ON reconciliation_findings TO {role}",
        ]
    )


def downgrade() -> None:
    statements.execute(
        [
            "DROP FUNCTION requeue_mails_not_known_sent(uuid[], double precision)",
            "DROP INDEX outbox_settled_created",
            "DROP TABLE reconciliation_findings",
            "DROP TABLE reconciliation_runs",
            "DROP TABLE mail_feed",
            "DROP TABLE mail_outcomes",
        ]
    )
