"""The mail database as SQLAlchemy tables. The migrations hold the constraints; a test compares the two."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from shared.db.tables import shared_tables
from shared.webhooks.tables import subscribers_table

metadata = sa.MetaData()

_TIME = sa.TIMESTAMP(timezone=True)

# A mail in one of these has a row in the queue.
WAITING_STATES = ("queued", "sending", "deferred")
RARE_STATES = ("uncertain", "failed", "bounced", "expired", "canceled", "suppressed")
_RARE_STATE = f"CASE WHEN state IN {RARE_STATES} THEN state END"

# The ledger: one row for each mail that was ever requested.
mails = sa.Table(
    "mails",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("client", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("to_email", sa.Text),
    sa.Column("to_key", sa.Text),
    sa.Column("to_name", sa.Text),
    sa.Column("template", sa.Text),
    sa.Column("template_version", sa.Text),
    sa.Column("locale", sa.Text),
    sa.Column("tags", pg.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("metadata", pg.JSONB, nullable=False, server_default="{}"),
    sa.Column("on_uncertain", sa.Text, nullable=False),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("gateway", sa.Text),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("accepted_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("send_at", _TIME),
    sa.Column("sent_at", _TIME),
    sa.Column("next_attempt_at", _TIME),
    sa.Column("expires_at", _TIME, nullable=False),
    sa.Column("failure_reason", sa.Text),
    sa.Column("failure_code", sa.SmallInteger),
    sa.Column("failure_enhanced_code", sa.Text),
    sa.Column("failure_reply", sa.Text),
    sa.Column("restored", sa.Boolean, nullable=False, server_default=sa.false()),
    # The Message-ID under which a restored mail was sent; its own stays as it was written.
    sa.Column("restored_message_id", sa.Text),
    # Each resend is a copy that is wanted, and has its own key at gateways that deduplicate.
    sa.Column("resends", sa.SmallInteger, nullable=False, server_default="0"),
    sa.Column("correlation_id", sa.Text),
    sa.Column("traceparent", sa.Text),
    # For operators' queries; NULL for ordinary mails: see the first revision.
    sa.Column("rare_state", sa.Text, sa.Computed(_RARE_STATE, persisted=True)),
    sa.UniqueConstraint("client", "request_id"),
    sa.Index("mails_client", "client", "id"),
    sa.Index("mails_to", "to_key", "id"),
    sa.Index("mails_metadata", "metadata", postgresql_using="gin", postgresql_ops={"metadata": "jsonb_path_ops"}),
    sa.Index("mails_template", "template", "id", postgresql_where=sa.text("template IS NOT NULL")),
    sa.Index("mails_tags", "tags", postgresql_using="gin", postgresql_where=sa.text("tags <> '{}'")),
    sa.Index("mails_accepted", "accepted_at", postgresql_using="brin"),
    sa.Index("mails_restored", "restored_message_id", postgresql_where=sa.text("restored_message_id IS NOT NULL")),
    sa.Index("mails_rare_state", "rare_state", "id", postgresql_where=sa.text("rare_state IS NOT NULL")),
)

# The request and the content to send, pinned at accept.
contents = sa.Table(
    "contents",
    metadata,
    sa.Column("mail_id", sa.Uuid, sa.ForeignKey("mails.id"), primary_key=True),
    sa.Column("request", pg.JSONB, nullable=False),
    sa.Column("sender_email", sa.Text, nullable=False),
    sa.Column("sender_name", sa.Text),
    sa.Column("reply_to_email", sa.Text),
    sa.Column("reply_to_name", sa.Text),
    sa.Column("subject", sa.Text, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("html", sa.Text),
    sa.Column("headers", pg.JSONB, nullable=False, server_default="{}"),
)

# The bytes of attachments, each kept once.
attachment_blobs = sa.Table(
    "attachment_blobs",
    metadata,
    sa.Column("sha256", sa.LargeBinary, primary_key=True),
    sa.Column("bytes", sa.LargeBinary, nullable=False),
)

attachments = sa.Table(
    "attachments",
    metadata,
    sa.Column("mail_id", sa.Uuid, sa.ForeignKey("mails.id"), primary_key=True),
    sa.Column("n", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("sha256", sa.LargeBinary, sa.ForeignKey("attachment_blobs.sha256"), nullable=False),
    sa.Column("filename", sa.Text, nullable=False),
    sa.Column("content_type", sa.Text, nullable=False),
    sa.Column("content_id", sa.Text),
    sa.Column("size", sa.Integer, nullable=False),
    sa.Index("attachments_sha256", "sha256"),
)

# One row for each mail that still has to be sent.
queue = sa.Table(
    "queue",
    metadata,
    sa.Column("mail_id", sa.Uuid, sa.ForeignKey("mails.id"), primary_key=True),
    sa.Column("lane", sa.Text, nullable=False),
    sa.Column("due_at", _TIME, nullable=False),
    sa.Column("lease", sa.Uuid),
    sa.Column("attempt", sa.Integer, nullable=False, server_default="0"),
    sa.Index("queue_due", "lane", "due_at"),
)

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("mail_id", sa.Uuid, sa.ForeignKey("mails.id"), primary_key=True),
    sa.Column("n", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("lease", sa.Uuid, nullable=False),
    sa.Column("gateway", sa.Text),
    sa.Column("phase", sa.Text, nullable=False, server_default="claimed"),
    sa.Column("outcome", sa.Text),
    sa.Column("counted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("claimed_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("transmitting_at", _TIME),
    sa.Column("ended_at", _TIME),
    sa.Column("code", sa.SmallInteger),
    sa.Column("enhanced_code", sa.Text),
    sa.Column("reply", sa.Text),
    # The header line by which the gateway deduplicates, and until when it is asked about an unknown outcome.
    sa.Column("idempotency_header", sa.Text),
    sa.Column("ask_until", _TIME),
)

suppressions = sa.Table(
    "suppressions",
    metadata,
    sa.Column("email_key", sa.Text, primary_key=True),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("mail_id", sa.Uuid, sa.ForeignKey("mails.id")),
    sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
    # NULL: it never ends by itself.
    sa.Column("ends_at", _TIME),
    sa.Index("suppressions_mail", "mail_id", postgresql_where=sa.text("mail_id IS NOT NULL")),
    sa.Index("suppressions_ends", "ends_at", postgresql_where=sa.text("ends_at IS NOT NULL")),
)

# What is kept of a mail whose row was deleted. A trigger writes it: see the migration.
lost_mails = sa.Table(
    "lost_mails",
    metadata,
    sa.Column("request_id", sa.Text, primary_key=True),
    sa.Column("client", sa.Text, primary_key=True),
    sa.Column("mail_id", sa.Uuid, nullable=False),
    sa.Column("fingerprint", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("message_id", sa.Text, nullable=False),
    sa.Column("accepted_at", _TIME, nullable=False),
    sa.Column("sent_at", _TIME),
    sa.Column("lost_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Index("lost_mails_lost", "lost_at"),
)

# Notices about mails that were sent.
bounces = sa.Table(
    "bounces",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("received_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("mail_id", sa.Uuid, sa.ForeignKey("mails.id")),
    sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("status", sa.Text),
    sa.Column("code", sa.SmallInteger),
    sa.Column("diagnostic", sa.Text),
    # The provider whose event it is; NULL: a notice from the bounce mailbox.
    sa.Column("provider", sa.Text),
    sa.Index("bounces_mail", "mail_id", "id"),
    sa.Index("bounces_worded", "received_at", postgresql_where=sa.text("diagnostic IS NOT NULL")),
)

# Tokens of providers whose signatures do not cover the body: with which body each came, so that no other follows it.
provider_event_tokens = sa.Table(
    "provider_event_tokens",
    metadata,
    sa.Column("token", sa.LargeBinary, primary_key=True),
    sa.Column("body", sa.LargeBinary, nullable=False),
    sa.Column("seen_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Index("provider_event_tokens_seen", "seen_at"),
)

# The latest retention run.
retention_runs = sa.Table(
    "retention_runs",
    metadata,
    sa.Column("singleton", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("ran_at", _TIME, nullable=False),
    sa.Column("contents_wiped", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("addresses_wiped", sa.BigInteger, nullable=False, server_default="0"),
)

# When a rate-limited gateway may take its next mail.
gateway_rates = sa.Table(
    "gateway_rates",
    metadata,
    sa.Column("gateway", sa.Text, primary_key=True),
    sa.Column("next_at", _TIME, nullable=False),
)

# What each gateway answered to its recent recipients, which are kept as hashes for a day at most (ADR 0024).
gateway_recipients = sa.Table(
    "gateway_recipients",
    metadata,
    sa.Column("gateway", sa.Text, primary_key=True),
    sa.Column("recipient", sa.LargeBinary, primary_key=True),
    sa.Column("domain", sa.Text, nullable=False),
    sa.Column("refused", sa.Boolean, nullable=False),
    # The gateway has accepted a mail to this domain since this refusal.
    sa.Column("domain_accepted", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("at", _TIME, nullable=False),
)

webhook_subscribers = subscribers_table(metadata)

# How far history was read for a subscriber: as it grows, and in each replay.
webhook_feeds = sa.Table(
    "webhook_feeds",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
    sa.Column("subscriber_id", sa.Uuid, sa.ForeignKey("webhook_subscribers.id", ondelete="CASCADE"), nullable=False),
    sa.Column("replay", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("since", _TIME, nullable=False),
    sa.Column("until", _TIME),
    sa.Column("events", pg.ARRAY(sa.Text)),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("entry_id", sa.Uuid, nullable=False),
    sa.Column("read_below", sa.BigInteger),
    sa.Column("live_position", sa.BigInteger),
    sa.Column("live_entry_id", sa.Uuid),
    sa.Column("created_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Index("webhook_feeds_live", "subscriber_id", unique=True, postgresql_where=sa.text("NOT replay")),
    sa.Index(
        "webhook_feeds_replay",
        *("subscriber_id", "since", "until", "events"),
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("replay"),
    ),
)

# Deliveries to subscribers that are not settled; `id` is that of the entry of history.
webhook_deliveries = sa.Table(
    "webhook_deliveries",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("subscriber_id", sa.Uuid, sa.ForeignKey("webhook_subscribers.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("mail_id", sa.Uuid, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("data", pg.JSONB, nullable=False),
    sa.Column("traceparent", sa.Text),
    sa.Column("occurred_at", _TIME, nullable=False),
    sa.Column("due_at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("lease", sa.Uuid),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_error", sa.Text),
    sa.Column("expires_at", _TIME, nullable=False),
    sa.Index("webhook_deliveries_due", "subscriber_id", "due_at"),
    sa.Index("webhook_deliveries_mail", "mail_id"),
)

# The delivery log, partitioned by month on `settled_at`. The statement that settles a delivery moves it here.
webhook_deliveries_settled = sa.Table(
    "webhook_deliveries_settled",
    metadata,
    sa.Column("subscriber_id", sa.Uuid, primary_key=True),
    sa.Column("event", sa.Text, primary_key=True),
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("mail_id", sa.Uuid, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("last_status", sa.Integer),
    sa.Column("last_error", sa.Text),
    sa.Column("occurred_at", _TIME, nullable=False),
    sa.Column("settled_at", _TIME, primary_key=True, server_default=sa.func.now()),
    sa.Index(
        "webhook_deliveries_settled_rare",
        *("subscriber_id", "event", "id"),
        postgresql_where=sa.text("outcome <> 'delivered'"),
    ),
    sa.Index("webhook_deliveries_settled_dead", "settled_at", postgresql_where=sa.text("outcome = 'dead'")),
    postgresql_partition_by="RANGE (settled_at)",
)

feed_base = sa.Table(
    "feed_base",
    metadata,
    sa.Column("singleton", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("base", sa.BigInteger, nullable=False),
)

(history, api_keys, heartbeats, check_results, check_runs, alerts, alert_notices, partition_upkeep) = shared_tables(
    metadata
)
# The position of an entry in the change feed: see the migration.
history.append_column(sa.Column("position", sa.BigInteger, nullable=False, server_default=sa.text("feed_position()")))
sa.Index("history_position", history.c.position, history.c.id)
