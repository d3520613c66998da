"""SQL that both first revisions share: append-only history, API keys, checks, alerts, month partitions, grants.

Revisions that ran somewhere must stay what they were: never change what is here, add beside it.
"""

from collections.abc import Sequence

from alembic import context, op

# The runtime role may drop no month younger than this, whatever its settings say.
_LEAST_MONTHS_KEPT = 2
# A session that waits for ACCESS EXCLUSIVE makes every later one wait too: no longer than a caller would notice.
_LOCK_TIMEOUT = "100ms"


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


# The last findings of the sanity checks, when they ran, and the alerts. One incident per name is open at a time; the
# statement that opens or closes it also owes the mail to the operators.
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

COMMON = (*HISTORY, *API_KEYS, *HEARTBEATS, *CHECKS)
COMMON_TABLES = ("api_keys", "heartbeats", "check_results", "check_runs", "alerts", "alert_notices")
DROP_COMMON = (
    "DROP FUNCTION ensure_partitions(integer), drop_oldest_partition(text, integer), month_partitions(text)",
    "DROP TABLE IF EXISTS history, partition_upkeep, " + ", ".join(reversed(COMMON_TABLES)),
    "DROP FUNCTION refuse_change()",
)


def for_runtime_role(
    role: str, *, append_only: Sequence[str], updated: Sequence[str], deleted: Sequence[str], functions: Sequence[str]
) -> tuple[str, ...]:
    """What the processes may do: add to `append_only`, also change `updated`, also delete from `deleted`.

    What maintenance must do beyond that it does by calling the owner's `functions`.
    """
    functions = (*functions, "ensure_partitions(integer)", "drop_oldest_partition(text, integer)")
    return (
        f"GRANT USAGE ON SCHEMA public TO {role}",
        *(f"GRANT SELECT, INSERT ON {table} TO {role}" for table in append_only),
        # Sanity checks look here for rows that found no month.
        *(f"GRANT SELECT ON {table}_default TO {role}" for table in append_only),
        *(f"GRANT SELECT, INSERT, UPDATE ON {table} TO {role}" for table in updated),
        *(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}" for table in deleted),
        f"GRANT SELECT, UPDATE (ran_at) ON partition_upkeep TO {role}",
        *(f"REVOKE ALL ON FUNCTION {function} FROM PUBLIC" for function in functions),
        *(f"GRANT EXECUTE ON FUNCTION {function} TO {role}" for function in functions),
    )


def partitioned(*tables: str) -> tuple[str, ...]:
    """Month partitions for `tables`: functions that make them ahead and drop them behind, and a default partition so
    that no insert ever fails.

    The functions belong to the owner; the runtime role may call them (DESIGN section 3, ADR 0013). DETACH CONCURRENTLY
    would lock less, but PostgreSQL refuses it where there is a default partition, and in a function.
    """
    names = ", ".join(f"'{table}'" for table in tables)
    defaults = tuple(f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT" for table in tables)
    return (
        *defaults,
        f"""
        CREATE FUNCTION ensure_partitions(months_ahead integer) RETURNS integer
        LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '{_LOCK_TIMEOUT}' AS $$
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
        """
        CREATE TABLE partition_upkeep (
            parent text PRIMARY KEY,
            ran_at timestamptz,
            kept_from timestamptz,
            blocked_since timestamptz
        ) WITH (fillfactor = 50)
        """,
        f"INSERT INTO partition_upkeep (parent) SELECT unnest(ARRAY[{names}])",
        # By their bounds, not by their names; a default partition has none.
        r"""
        CREATE FUNCTION month_partitions(parent text) RETURNS TABLE (name text, from_at timestamptz, to_at timestamptz)
        LANGUAGE sql STABLE SET search_path = pg_catalog SET datestyle = 'ISO' SET timezone = 'UTC' AS $body$
            SELECT c.relname::text, bound[1]::timestamptz, bound[2]::timestamptz
            FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            CROSS JOIN LATERAL regexp_match(
                pg_get_expr(c.relpartbound, c.oid), $re$^FOR VALUES FROM \('([^']+)'\) TO \('([^']+)'\)$re$
            ) AS bound
            WHERE i.inhparent = to_regclass('public.' || quote_ident(parent)) AND bound IS NOT NULL
        $body$
        """,
        f"""
        CREATE FUNCTION drop_oldest_partition(parent_table text, keep_months integer)
        RETURNS TABLE (partition text, outcome text, rows bigint)
        LANGUAGE plpgsql SECURITY DEFINER
        SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' SET lock_timeout = '{_LOCK_TIMEOUT}' AS $$
        DECLARE
            oldest record;
            held bigint;
        BEGIN
            IF parent_table IS NULL OR parent_table NOT IN ({names}) THEN
                RAISE EXCEPTION 'partitions of % are never dropped', parent_table USING ERRCODE = 'restrict_violation';
            END IF;
            IF keep_months IS NULL OR keep_months < {_LEAST_MONTHS_KEPT} THEN
                RAISE EXCEPTION 'at least {_LEAST_MONTHS_KEPT} whole months are kept'
                    USING ERRCODE = 'restrict_violation';
            END IF;
            -- Another worker is at it.
            IF NOT pg_try_advisory_xact_lock(hashtext('drop_oldest_partition')) THEN
                RETURN;
            END IF;
            SELECT * INTO oldest FROM public.month_partitions(parent_table) AS p
            WHERE p.to_at <= date_trunc('month', now()) - make_interval(months => keep_months)
            ORDER BY p.to_at LIMIT 1;
            IF NOT FOUND THEN
                UPDATE public.partition_upkeep SET blocked_since = NULL
                WHERE parent = parent_table AND blocked_since IS NOT NULL;
                RETURN;
            END IF;
            BEGIN
                -- Before the lock that keeps everybody out: counting takes long, dropping does not.
                EXECUTE format('SELECT count(*) FROM public.%I', oldest.name) INTO held;
                EXECUTE format('DROP TABLE public.%I', oldest.name);
                UPDATE public.partition_upkeep SET kept_from = greatest(kept_from, oldest.to_at), blocked_since = NULL
                WHERE parent = parent_table;
                INSERT INTO public.history (kind, subject, actor, detail)
                VALUES ('partition.dropped', oldest.name, session_user, jsonb_build_object(
                    'table', parent_table, 'from', oldest.from_at, 'to', oldest.to_at, 'rows', held
                ));
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                UPDATE public.partition_upkeep SET blocked_since = coalesce(blocked_since, now())
                WHERE parent = parent_table;
                RETURN QUERY SELECT oldest.name, 'blocked', NULL::bigint;
                RETURN;
            END;
            RETURN QUERY SELECT oldest.name, 'dropped', held;
        END $$
        """,
        "REVOKE ALL ON FUNCTION drop_oldest_partition(text, integer) FROM PUBLIC",
        # Truncation triggers are not inherited: the months have one each, the default partition needs its own.
        """
        CREATE TRIGGER history_is_not_emptied BEFORE TRUNCATE ON history_default
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """,
        "SELECT ensure_partitions(3)",
    )
