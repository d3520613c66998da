"""SQL that both first revisions share: append-only history, month partitions, grants.

Revisions that ran somewhere must stay what they were: never change what is here, add beside it.
"""

from collections.abc import Sequence

from alembic import context, op


def execute(statements: Sequence[str]) -> None:
    """One round trip each: asyncpg prepares statements, and a prepared statement is one."""
    for statement in statements:
        op.execute(statement)


def runtime_role() -> str:
    """The role whose grants are written; its name was checked by the environment."""
    return str(context.get_context().opts["runtime_role"])


HISTORY = (
    """
    CREATE TABLE history (
        id uuid NOT NULL DEFAULT uuidv7(),
        at timestamptz NOT NULL DEFAULT clock_timestamp(),
        kind text NOT NULL CHECK (kind ~ '^[a-z]+([._][a-z]+)+$'),
        subject text NOT NULL,
        related text[] NOT NULL DEFAULT '{}',
        actor text NOT NULL,
        correlation_id text,
        traceparent text,
        detail jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(detail) = 'object'),
        PRIMARY KEY (id, at)
    ) PARTITION BY RANGE (at)
    """,
    "CREATE INDEX history_subject ON history (subject, id)",
    "CREATE INDEX history_related ON history USING gin (related)",
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        RAISE EXCEPTION '% is append-only: % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
    END $$
    """,
    """
    CREATE TRIGGER history_is_append_only BEFORE UPDATE OR DELETE ON history
    FOR EACH ROW EXECUTE FUNCTION refuse_change()
    """,
    """
    CREATE TRIGGER history_is_not_emptied BEFORE TRUNCATE ON history
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
    """,
)


def partitioned(*tables: str) -> tuple[str, ...]:
    """Month partitions for `tables`: a function that makes them ahead, and a default one so that no insert ever fails.

    The function belongs to the owner and is what the runtime role may call (DESIGN section 3).
    """
    names = ", ".join(f"'{table}'" for table in tables)
    defaults = tuple(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT" for table in tables)
    return (
        *defaults,
        f"""
        CREATE FUNCTION ensure_partitions(months_ahead integer) RETURNS integer
        LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
        DECLARE
            parent text;
            child text;
            first timestamptz;
            made integer := 0;
        BEGIN
            IF months_ahead NOT BETWEEN 0 AND 24 THEN
                RAISE EXCEPTION 'months_ahead must be between 0 and 24';
            END IF;
            PERFORM pg_advisory_xact_lock(hashtext('ensure_partitions'));
            FOREACH parent IN ARRAY ARRAY[{names}] LOOP
                FOR month IN 0..months_ahead LOOP
                    first := (date_trunc('month', now() AT TIME ZONE 'UTC') + make_interval(months => month))
                             AT TIME ZONE 'UTC';
                    child := parent || to_char(first AT TIME ZONE 'UTC', '"_y"YYYY"m"MM');
                    CONTINUE WHEN to_regclass('public.' || child) IS NOT NULL;
                    EXECUTE format(
                        'CREATE TABLE public.%I PARTITION OF public.%I FOR VALUES FROM (%L) TO (%L)',
                        child, parent, first,
                        ((first AT TIME ZONE 'UTC') + interval '1 month') AT TIME ZONE 'UTC'
                    );
                    IF parent = 'history' THEN
                        EXECUTE format(
                            'CREATE TRIGGER history_is_not_emptied BEFORE TRUNCATE ON public.%I '
                            'FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change()', child
                        );
                    END IF;
                    made := made + 1;
                END LOOP;
            END LOOP;
            RETURN made;
        END $$
        """,
        "REVOKE ALL ON FUNCTION ensure_partitions(integer) FROM PUBLIC",
        "SELECT ensure_partitions(3)",
    )


API_KEYS = (
    """
    CREATE TABLE api_keys (
        id text PRIMARY KEY,
        client text NOT NULL CHECK (length(client) BETWEEN 1 AND 100),
        scopes text[] NOT NULL CHECK (cardinality(scopes) > 0),
        key_hash bytea NOT NULL CHECK (length(key_hash) = 32),
        created_at timestamptz NOT NULL DEFAULT now(),
        expires_at timestamptz,
        revoked_at timestamptz
    )
    """,
    "CREATE INDEX api_keys_client ON api_keys (client)",
)

HEARTBEATS = (
    """
    CREATE TABLE heartbeats (
        process text PRIMARY KEY,
        at timestamptz NOT NULL DEFAULT now(),
        detail jsonb NOT NULL DEFAULT '{}'
    ) WITH (fillfactor = 50)
    """,
)


# What the sanity checks found last, when they were last run, and the alerts that followed. One incident per name is
# open at a time, whoever sees it; a mail to the operators is owed in the same statement that opens or closes it.
CHECKS = (
    """
    CREATE TABLE check_results (
        name text PRIMARY KEY,
        last_run_at timestamptz NOT NULL,
        violations integer NOT NULL CHECK (violations >= 0),
        fixed integer NOT NULL CHECK (fixed >= 0),
        fixed_total bigint NOT NULL DEFAULT 0 CHECK (fixed_total >= fixed),
        examples jsonb NOT NULL DEFAULT '[]' CHECK (jsonb_typeof(examples) = 'array'),
        error text
    ) WITH (fillfactor = 50)
    """,
    "CREATE TABLE check_runs (singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton), claimed_at timestamptz)",
    "INSERT INTO check_runs DEFAULT VALUES",
    """
    CREATE TABLE alerts (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        name text NOT NULL,
        severity text NOT NULL CHECK (severity IN ('red', 'warning')),
        subject text NOT NULL,
        since timestamptz NOT NULL DEFAULT now(),
        seen_at timestamptz NOT NULL DEFAULT now(),
        opened_at timestamptz,
        reminded_at timestamptz,
        closed_at timestamptz,
        CHECK (opened_at IS NOT NULL OR (reminded_at IS NULL AND closed_at IS NULL))
    )
    """,
    "CREATE UNIQUE INDEX alerts_open ON alerts (name) WHERE closed_at IS NULL",
    """
    CREATE TABLE alert_notices (
        alert_id uuid NOT NULL REFERENCES alerts (id),
        phase text NOT NULL CHECK (length(phase) BETWEEN 1 AND 50),
        subject text NOT NULL,
        body text NOT NULL,
        created_at timestamptz NOT NULL DEFAULT now(),
        due_at timestamptz NOT NULL DEFAULT now(),
        attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        sent_at timestamptz,
        via text,
        PRIMARY KEY (alert_id, phase),
        CHECK ((sent_at IS NULL) = (via IS NULL))
    )
    """,
    "CREATE INDEX alert_notices_due ON alert_notices (due_at) WHERE sent_at IS NULL",
)
CHECK_TABLES = ("check_results", "check_runs", "alerts", "alert_notices")


def grants(role: str, *, append_only: Sequence[str], tables: Sequence[str]) -> tuple[str, ...]:
    """What the processes may do: everything to `tables`, only add to `append_only`, and call the maintenance."""
    return (
        f"GRANT USAGE ON SCHEMA public TO {role}",
        *(f"GRANT SELECT, INSERT ON {table} TO {role}" for table in append_only),
        *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}" for table in tables),
        f"GRANT EXECUTE ON FUNCTION ensure_partitions(integer) TO {role}",
    )


# Nobody's temporary tables may stand for ours in a function that runs with its owner's rights: without a word about it,
# pg_temp is searched first (PostgreSQL manual, "Writing SECURITY DEFINER Functions Safely").
TEMPORARY_TABLES_LAST = (
    """
    DO $$
    DECLARE
        definer regprocedure;
    BEGIN
        FOR definer IN
            SELECT oid FROM pg_proc WHERE prosecdef AND pronamespace = 'public'::regnamespace
        LOOP
            EXECUTE format('ALTER FUNCTION %s SET search_path = pg_catalog, public, pg_temp', definer);
        END LOOP;
    END $$
    """,
)
