"""SQL that both retention revisions share: whole months are dropped behind, by the owner's function (ADR 0013).

Revisions that ran somewhere must stay what they were: never change what is here, add beside it.
"""

from migrations import statements

# The runtime role may drop no month younger than this, whatever its settings say.
_LEAST_MONTHS_KEPT = 2
# Whoever waits for ACCESS EXCLUSIVE makes everybody after it wait too: no longer than anybody would notice.
_LOCK_PATIENCE = "100ms"


def dropping(*tables: str) -> tuple[str, ...]:
    """What lets the runtime role drop whole months of `tables` behind, and nothing else of them (ADR 0013).

    DETACH CONCURRENTLY would lock less, but is refused where there is a default partition, and in a function.
    """
    names = ", ".join(f"'{table}'" for table in tables)
    return (
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
        SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' SET lock_timeout = '{_LOCK_PATIENCE}' AS $$
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
        f"GRANT EXECUTE ON FUNCTION drop_oldest_partition(text, integer) TO {statements.runtime_role()}",
        f"GRANT SELECT, UPDATE (ran_at) ON partition_upkeep TO {statements.runtime_role()}",
        # Truncation triggers are not inherited: the months have one each, the default partition had none.
        """
        CREATE TRIGGER history_is_not_emptied BEFORE TRUNCATE ON history_default
        FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()
        """,
        # Making a month takes the same lock, and must not wait for it either.
        f"ALTER FUNCTION ensure_partitions(integer) SET lock_timeout = '{_LOCK_PATIENCE}'",
    )


NO_DROPPING = (
    "ALTER FUNCTION ensure_partitions(integer) RESET lock_timeout",
    "DROP TRIGGER history_is_not_emptied ON history_default",
    "DROP FUNCTION drop_oldest_partition(text, integer)",
    "DROP FUNCTION month_partitions(text)",
    "DROP TABLE partition_upkeep",
)
