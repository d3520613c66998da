"""The signup database as SQLAlchemy sees it. Constraints stand in the migrations; a test keeps the two alike."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from shared.history import history_table
from shared.keys import api_keys_table

metadata = sa.MetaData()

_TIME = sa.TIMESTAMP(timezone=True)

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
    sa.UniqueConstraint("source", "external_id"),
    sa.Index("users_source", "source", "id"),
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
    sa.Index("outbox_due", "effect", "due_at", postgresql_where=sa.text("due_at IS NOT NULL")),
    sa.Index("outbox_dead", "dead_at", postgresql_where=sa.text("state = 'dead'")),
    sa.Index("outbox_user", "user_id"),
)

# Partitioned by month on `settled_at`: where an outbox row goes in the statement that settles it.
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
    postgresql_partition_by="RANGE (settled_at)",
)

heartbeats = sa.Table(
    "heartbeats",
    metadata,
    sa.Column("process", sa.Text, primary_key=True),
    sa.Column("at", _TIME, nullable=False, server_default=sa.func.now()),
    sa.Column("detail", pg.JSONB, nullable=False, server_default="{}"),
)

history = history_table(metadata)
api_keys = api_keys_table(metadata)
