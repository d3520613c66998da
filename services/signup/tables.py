"""The signup database as SQLAlchemy sees it. The migrations hold the constraints; a test keeps both equal."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from shared.db.tables import shared_tables
from shared.webhooks.tables import subscribers_table

metadata = sa.MetaData()

_TIME = sa.TIMESTAMP(timezone=True)

_UNREACHED = (
    "CASE WHEN state IN ('suppressed', 'failed', 'bounced', 'expired')"
    " AND request_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN request_id::uuid END"
)

# The deliveries of one webhook subscriber, by event.
_OF_SUBSCRIBER = (sa.text("(payload ->> 'subscriber_id')"), sa.text("(payload ->> 'event')"), "id")

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("email", sa.Text),
    sa.Column("email_key", sa.Text, unique=True),
    sa.Column("name", sa.Text),
    sa.Column("locale", sa.Text, nullable=False, server_default="en"),
    sa.Column("status", sa.Text, nullable=False, server_default="pending"),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("external_id", sa.Text),
    sa.Column("metadata", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("updated_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("verified_at", _TIME),
    sa.Column("erased_at", _TIME),
    sa.Column("last_mail_at", _TIME),
    # True: no anonymous signup changes this user.
    sa.Column("written_by_key", sa.Boolean, nullable=False, server_default=sa.true()),
    # Mails that callers without a key caused: since the last verification, and in the window of a day.
    sa.Column("stranger_mails", sa.Integer, nullable=False, server_default="0"),
    sa.Column("window_began_at", _TIME),
    sa.Column("mails_in_window", sa.Integer, nullable=False, server_default="0"),
    sa.UniqueConstraint("source", "external_id"),
    sa.Index("users_source", "source", "id"),
    sa.Index("users_external_id", "external_id", postgresql_where=sa.text("external_id IS NOT NULL")),
    sa.Index("users_erased", "erased_at", postgresql_where=sa.text("erased_at IS NOT NULL")),
    sa.Index("users_pending", "id", postgresql_where=sa.text("status = 'pending'")),
)

# When all mails that callers without a key caused will have gone, at the rate that is allowed.
stranger_mail_budget = sa.Table(
    "stranger_mail_budget",
    metadata,
    sa.Column("singleton", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("spent_until", _TIME, nullable=False, server_default=sa.text("'epoch'")),
)

# Solved challenges, each good once; the worker deletes old ones.
used_challenges = sa.Table(
    "used_challenges",
    metadata,
    sa.Column("id", sa.LargeBinary, primary_key=True),
    sa.Column("used_at", _TIME, nullable=False, server_default=sa.func.now()),
)

idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("scope", sa.Text, primary_key=True),
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("status", sa.SmallInteger),
    sa.Column("answer", pg.JSONB),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id")),
    sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Index("idempotency_keys_user", "user_id"),
    sa.Index("idempotency_keys_created", "created_at", postgresql_using="brin"),
)

imports = sa.Table(
    "imports",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("idempotency_key", sa.Text),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("media", sa.Text, nullable=False),
    sa.Column("dry_run", sa.Boolean, nullable=False),
    sa.Column("mails_per_minute", sa.Integer, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="receiving"),
    sa.Column("receiver", sa.Uuid),
    sa.Column("received_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("body_digest", sa.LargeBinary),
    sa.Column("row_count", sa.Integer, nullable=False, server_default="0"),
    sa.Column("done_through_line", sa.Integer, nullable=False, server_default="0"),
    sa.Column("created", sa.Integer, nullable=False, server_default="0"),
    sa.Column("already_exists", sa.Integer, nullable=False, server_default="0"),
    sa.Column("duplicate", sa.Integer, nullable=False, server_default="0"),
    sa.Column("invalid", sa.Integer, nullable=False, server_default="0"),
    sa.Column("mails_owed", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_mail_at", _TIME),
    sa.Column("failure", sa.Text),
    sa.Column("cleaned_at", _TIME),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("correlation_id", sa.Text),
    sa.Column("traceparent", sa.Text),
    sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("finished_at", _TIME),
    sa.UniqueConstraint("client", "idempotency_key"),
    sa.Index("imports_client", "client", "id"),
    sa.Index(
        "imports_open",
        "state",
        "id",
        postgresql_where=sa.text(
            "state IN ('receiving', 'running', 'paused') OR (state IN ('failed', 'canceled') AND cleaned_at IS NULL)"
        ),
    ),
)

import_rows = sa.Table(
    "import_rows",
    metadata,
    sa.Column("import_id", sa.Uuid, sa.ForeignKey("imports.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("line", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("raw", sa.LargeBinary),
    sa.Column("outcome", sa.Text),
    sa.Column("reason", sa.Text),
    sa.Column("external_id", sa.Text),
    sa.Column("email", sa.Text),
    sa.Column("email_key", sa.Text),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id")),
    sa.Index("import_rows_email", "email_key", "import_id", postgresql_where=sa.text("email_key IS NOT NULL")),
    sa.Index("import_rows_user", "user_id", postgresql_where=sa.text("user_id IS NOT NULL")),
    sa.Index(
        "import_rows_external_id",
        "external_id",
        "import_id",
        unique=True,
        postgresql_where=sa.text("outcome IN ('created', 'already_exists')"),
    ),
    sa.Index("import_rows_trouble", "import_id", "outcome", "line", postgresql_where=sa.text("outcome <> 'created'")),
)

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("effect", sa.Text, nullable=False),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id")),
    sa.Column("payload", pg.JSONB, nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="pending"),
    sa.Column("due_at", _TIME, server_default=sa.func.now()),
    sa.Column("lease", sa.Uuid),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_error", sa.Text),
    sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("expires_at", _TIME, nullable=False),
    sa.Column("dead_at", _TIME),
    sa.Column("correlation_id", sa.Text),
    sa.Column("traceparent", sa.Text),
    sa.Column("import_id", sa.Uuid, sa.ForeignKey("imports.id")),
    sa.Index("outbox_due", "effect", "due_at", postgresql_where=sa.text("due_at IS NOT NULL")),
    sa.Index("outbox_dead", "dead_at", postgresql_where=sa.text("state = 'dead'")),
    sa.Index("outbox_user", "user_id"),
    sa.Index("outbox_import", "import_id", "due_at", postgresql_where=sa.text("import_id IS NOT NULL")),
    sa.Index("outbox_webhook", *_OF_SUBSCRIBER, postgresql_where=sa.text("effect = 'webhook'")),
)

# Partitioned by month on `settled_at`. The statement that settles an outbox row moves it here.
outbox_settled = sa.Table(
    "outbox_settled",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("effect", sa.Text, nullable=False),
    sa.Column("user_id", sa.Uuid),
    sa.Column("payload", pg.JSONB, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("result", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("created_at", _TIME, nullable=False),
    sa.Column("settled_at", _TIME, primary_key=True, server_default=sa.func.now()),
    sa.Column("correlation_id", sa.Text),
    sa.Column("traceparent", sa.Text),
    sa.Index("outbox_settled_user", "user_id"),
    sa.Index("outbox_settled_created", "created_at", "id", postgresql_where=sa.text("effect = 'mail'")),
    sa.Index("outbox_settled_webhook", *_OF_SUBSCRIBER, postgresql_where=sa.text("effect = 'webhook'")),
    sa.Index(
        "outbox_settled_webhook_rare",
        *_OF_SUBSCRIBER,
        postgresql_where=sa.text("effect = 'webhook' AND outcome <> 'delivered'"),
    ),
    postgresql_partition_by="RANGE (settled_at)",
)

# The mail outcomes that the change feed reported, and the feed follower's cursor.
mail_outcomes = sa.Table(
    "mail_outcomes",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("mail_id", sa.Uuid, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.Text, nullable=False),
    sa.Column("sent_at", _TIME),
    sa.Column("failure_code", sa.Integer),
    sa.Column("failure_enhanced_code", sa.Text),
    sa.Column("changed_at", _TIME, nullable=False),
    # The outbox row of a mail that did not reach its recipient; NULL for an ordinary mail: see its revision.
    sa.Column("unreached", sa.Uuid, sa.Computed(_UNREACHED, persisted=True)),
    sa.Index("mail_outcomes_unreached", "unreached", postgresql_where=sa.text("unreached IS NOT NULL")),
)

mail_feed = sa.Table(
    "mail_feed",
    metadata,
    sa.Column("singleton", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("cursor", sa.Text),
    sa.Column("moved_at", _TIME, nullable=False, server_default=sa.func.now()),
)

# Reconciliation of both ledgers: the runs and their findings.
reconciliation_runs = sa.Table(
    "reconciliation_runs",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("state", sa.Text, nullable=False, server_default="running"),
    sa.Column("verdict", sa.Text, nullable=False, server_default="incomplete"),
    sa.Column("window_from", _TIME, nullable=False),
    sa.Column("window_to", _TIME, nullable=False),
    sa.Column("repair", sa.Boolean, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("correlation_id", sa.Text),
    sa.Column("phase", sa.Text, nullable=False, server_default="waiting"),
    sa.Column("position", pg.JSONB),
    sa.Column("compared", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("missing", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("lost_records", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("unexpected", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("different", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("stuck", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("unserved_users", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("known", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("repaired", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("examples", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("due_at", _TIME, server_default=sa.func.now()),
    sa.Column("lease", sa.Uuid),
    sa.Column("faults", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_error", sa.Text),
    sa.Column("started_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("finished_at", _TIME),
    sa.Index("reconciliation_runs_running", "id", postgresql_where=sa.text("state = 'running'")),
    sa.Index("reconciliation_runs_balanced", "window_to", postgresql_where=sa.text("verdict = 'balanced'")),
)

reconciliation_findings = sa.Table(
    "reconciliation_findings",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("reconciliation_runs.id"), nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("mail_id", sa.Uuid),
    sa.Column("user_id", sa.Uuid),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("mark", sa.Text, nullable=False),
    sa.Column("repairable", sa.Boolean, nullable=False),
    sa.Column("found_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("repaired_at", _TIME),
    sa.UniqueConstraint("kind", "request_id"),
    sa.Index("reconciliation_findings_run", "run_id", "kind", "id"),
)

signup_statistics = sa.Table(
    "signup_statistics",
    metadata,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
)

webhook_subscribers = subscribers_table(metadata)

(history, api_keys, heartbeats, check_results, check_runs, alerts, alert_notices, partition_upkeep) = shared_tables(
    metadata
)
