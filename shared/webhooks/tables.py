"""The table of subscribers, which both databases have, for SQLAlchemy. Constraints are in the migrations."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


def subscribers_table(metadata: sa.MetaData) -> sa.Table:
    time = sa.TIMESTAMP(timezone=True)
    return sa.Table(
        "webhook_subscribers",
        metadata,
        sa.Column("id", sa.Uuid, primary_key=True, server_default=sa.text("uuidv7()")),
        sa.Column("client", sa.Text, nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("events", pg.ARRAY(sa.Text), nullable=False),
        sa.Column("key_id", sa.Text, nullable=False),
        sa.Column("secret_version", sa.Integer, nullable=False, server_default="1"),
        sa.Column("previous_key_id", sa.Text),
        sa.Column("rotated_at", time),
        sa.Column("created_at", time, nullable=False, server_default=sa.func.now()),
        # Since when it gets events: since it was added, or enabled again.
        sa.Column("enabled_at", time, nullable=False, server_default=sa.func.now()),
        sa.Column("disabled_at", time),
        sa.Column("disabled_reason", sa.Text),
        sa.Index("webhook_subscribers_client", "client", "id"),
    )
