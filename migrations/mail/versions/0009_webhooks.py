"""Webhook subscribers of the mail service, where each is in the change feed, and what is owed to it (ADR 0034).

Revises: 0008
"""

from migrations import statements

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_EVENTS = (
    "'mail.sent', 'mail.delivered', 'mail.deferred', 'mail.failed', 'mail.bounced', 'mail.complained',"
    " 'mail.uncertain', 'mail.suppressed', 'mail.expired'"
)

# As in the signup database. No secret stands here: it is derived from a key of MAIL_WEBHOOK_KEYS, the ID and the
# version.
_SUBSCRIBERS = (
    f"""
    CREATE TABLE webhook_subscribers (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        client text NOT NULL CHECK (length(client) BETWEEN 1 AND 100),
        url text NOT NULL CHECK (length(url) BETWEEN 8 AND 2000),
        events text[] NOT NULL CHECK (cardinality(events) > 0 AND events <@ ARRAY[{_EVENTS}]),
        key_id text NOT NULL,
        secret_version integer NOT NULL DEFAULT 1 CHECK (secret_version > 0),
        previous_key_id text,
        rotated_at timestamptz,
        created_at timestamptz NOT NULL DEFAULT now(),
        enabled_at timestamptz NOT NULL DEFAULT now(),
        disabled_at timestamptz,
        disabled_reason text,
        CHECK ((disabled_at IS NULL) = (disabled_reason IS NULL)),
        CHECK ((rotated_at IS NULL) = (previous_key_id IS NULL)),
        CHECK ((rotated_at IS NULL) = (secret_version = 1))
    )
    """,
    "CREATE INDEX webhook_subscribers_client ON webhook_subscribers (client, id)",
)

# How far history was read for a subscriber: as it grows, and once more for each replay. `position` and `entry_id` name
# the last entry that was read. Written at every step, hence the fillfactor.
# A replay reads below `read_below`. `live_position` and `live_entry_id` say how far the subscriber's own feed was then:
# what comes after, and happened since the subscriber was enabled, comes by that one.
_FEEDS = (
    """
    CREATE TABLE webhook_feeds (
        id uuid PRIMARY KEY DEFAULT uuidv7(),
        subscriber_id uuid NOT NULL REFERENCES webhook_subscribers (id) ON DELETE CASCADE,
        replay boolean NOT NULL DEFAULT false,
        since timestamptz NOT NULL,
        until timestamptz,
        events text[],
        position bigint NOT NULL,
        entry_id uuid NOT NULL,
        read_below bigint,
        live_position bigint,
        live_entry_id uuid,
        created_at timestamptz NOT NULL DEFAULT now(),
        CHECK (num_nulls(read_below, live_position, live_entry_id, events) = CASE WHEN replay THEN 0 ELSE 4 END),
        CHECK (replay OR until IS NULL)
    ) WITH (fillfactor = 50)
    """,
    "CREATE UNIQUE INDEX webhook_feeds_live ON webhook_feeds (subscriber_id) WHERE NOT replay",
    # The same replay, asked for again while it is under way, is the same.
    """
    CREATE UNIQUE INDEX webhook_feeds_replay ON webhook_feeds (subscriber_id, since, until, events) NULLS NOT DISTINCT
    WHERE replay
    """,
)

# What is not settled yet, a bounded number for each subscriber: history holds the rest. See the outbox of signup for
# the settings. `id` is that of the entry of history, and the `webhook-id`.
_DELIVERIES = (
    f"""
    CREATE TABLE webhook_deliveries (
        id uuid NOT NULL,
        subscriber_id uuid NOT NULL REFERENCES webhook_subscribers (id) ON DELETE CASCADE,
        position bigint NOT NULL,
        mail_id uuid NOT NULL,
        event text NOT NULL CHECK (event IN ({_EVENTS})),
        data jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'),
        traceparent text,
        occurred_at timestamptz NOT NULL,
        due_at timestamptz NOT NULL DEFAULT now(),
        lease uuid,
        attempts integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
        last_status integer,
        last_error text,
        expires_at timestamptz NOT NULL,
        PRIMARY KEY (id, subscriber_id)
    ) WITH (
        fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 10000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0.5, autovacuum_analyze_threshold = 10000
    )
    """,
    "CREATE INDEX webhook_deliveries_due ON webhook_deliveries (subscriber_id, due_at)",
    # Whether an earlier event of the mail waits.
    "CREATE INDEX webhook_deliveries_mail ON webhook_deliveries (mail_id)",
)

# The log: IDs, names of events, answers. The settling statement moves a row here.
_SETTLED = (
    """
    CREATE TABLE webhook_deliveries_settled (
        subscriber_id uuid NOT NULL,
        event text NOT NULL,
        id uuid NOT NULL,
        mail_id uuid NOT NULL,
        outcome text NOT NULL CHECK (outcome IN ('delivered', 'dead', 'canceled')),
        attempts integer NOT NULL,
        last_status integer,
        last_error text,
        occurred_at timestamptz NOT NULL,
        settled_at timestamptz NOT NULL DEFAULT now(),
        PRIMARY KEY (subscriber_id, event, id, settled_at),
        CHECK (outcome = 'delivered' OR last_error IS NOT NULL)
    ) PARTITION BY RANGE (settled_at)
    """,
    """
    CREATE INDEX webhook_deliveries_settled_rare ON webhook_deliveries_settled (subscriber_id, event, id)
    WHERE outcome <> 'delivered'
    """,
    "CREATE INDEX webhook_deliveries_settled_dead ON webhook_deliveries_settled (settled_at) WHERE outcome = 'dead'",
    "CREATE TABLE webhook_deliveries_settled_default PARTITION OF webhook_deliveries_settled DEFAULT",
    "INSERT INTO partition_upkeep (parent) VALUES ('webhook_deliveries_settled')",
)

_REPLACE = """
DO $do$ BEGIN
    EXECUTE replace(pg_get_functiondef('{function}'::regprocedure), $old${old}$old$, $new${new}$new$);
END $do$
"""
_ONE, _TWO = "'history'", "'history', 'webhook_deliveries_settled'"
# Which tables have month partitions: what `ensure_partitions` makes ahead, and what `drop_oldest_partition` may drop.
_LISTS = (
    ("ensure_partitions(integer)", f"ARRAY[{_ONE}]", f"ARRAY[{_TWO}]"),
    ("drop_oldest_partition(text, integer)", f"NOT IN ({_ONE})", f"NOT IN ({_TWO})"),
)


def upgrade() -> None:
    role = statements.runtime_role()
    subscriber = "key_id, secret_version, previous_key_id, rotated_at, enabled_at, disabled_at, disabled_reason"
    statements.execute(
        [
            *_SUBSCRIBERS,
            *_FEEDS,
            *_DELIVERIES,
            *_SETTLED,
            *(_REPLACE.format(function=function, old=old, new=new) for function, old, new in _LISTS),
            "SELECT ensure_partitions(3)",
            f"GRANT SELECT, INSERT, DELETE ON webhook_subscribers, webhook_feeds, webhook_deliveries TO {role}",
            f"GRANT UPDATE ({subscriber}) ON webhook_subscribers TO {role}",
            f"GRANT UPDATE (since, position, entry_id) ON webhook_feeds TO {role}",
            f"GRANT UPDATE (due_at, lease, attempts, last_status, last_error) ON webhook_deliveries TO {role}",
            f"GRANT SELECT, INSERT ON webhook_deliveries_settled TO {role}",
            f"GRANT SELECT ON webhook_deliveries_settled_default TO {role}",
        ]
    )


def downgrade() -> None:
    statements.execute(
        [
            *(_REPLACE.format(function=function, old=new, new=old) for function, old, new in _LISTS),
            "DROP TABLE webhook_deliveries_settled, webhook_deliveries, webhook_feeds, webhook_subscribers",
            "DELETE FROM partition_upkeep WHERE parent = 'webhook_deliveries_settled'",
        ]
    )
