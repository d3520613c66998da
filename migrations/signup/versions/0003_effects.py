"""Effects beside mail: statistics, subscribers; and the life of an account.

Revises: 0002
"""

from migrations import statements

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

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

# PendingCleanup walks the pending from the oldest on; new ones are added at the right edge.
_PENDING = "CREATE INDEX users_pending ON users (id) WHERE status = 'pending'"

# The ledgers behind the outbox are append-only for the runtime role. This is the one change that it may cause there:
# what is personal leaves the rows of people who are erased already.
_ERASE = """
CREATE FUNCTION erase_user_payloads(erased uuid[]) RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
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


def upgrade() -> None:
    role = statements.runtime_role()
    statements.execute(
        [
            _STATISTICS,
            *_SUBSCRIBERS,
            _PENDING,
            _ERASE,
            "REVOKE ALL ON FUNCTION erase_user_payloads(uuid[]) FROM PUBLIC",
            f"GRANT EXECUTE ON FUNCTION erase_user_payloads(uuid[]) TO {role}",
            f"GRANT SELECT, INSERT, UPDATE ON signup_statistics TO {role}",
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_subscribers TO {role}",
        ]
    )


def downgrade() -> None:
    statements.execute(
        [
            "DROP FUNCTION erase_user_payloads(uuid[])",
            "DROP INDEX users_pending",
            "DROP TABLE webhook_subscribers",
            "DROP TABLE signup_statistics",
        ]
    )
