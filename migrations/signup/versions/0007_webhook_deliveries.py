"""The delivery log of webhook subscribers, read and replayed from the outbox and its settled rows.

The indexes hold rows of the effect `webhook` only, so nothing else pays for them. Building those of `outbox_settled`
reads the whole table, and holds up what settles outbox rows meanwhile.

Revises: 0006
"""

from migrations import statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OF_SUBSCRIBER = "((payload ->> 'subscriber_id'), (payload ->> 'event'), id)"


def upgrade() -> None:
    statements.execute(
        [
            "ALTER TABLE webhook_subscribers ADD COLUMN enabled_at timestamptz NOT NULL DEFAULT now()",
            "UPDATE webhook_subscribers SET enabled_at = created_at",
            f"GRANT UPDATE (enabled_at) ON webhook_subscribers TO {statements.runtime_role()}",
            f"CREATE INDEX outbox_webhook ON outbox {_OF_SUBSCRIBER} WHERE effect = 'webhook'",
            f"CREATE INDEX outbox_settled_webhook ON outbox_settled {_OF_SUBSCRIBER} WHERE effect = 'webhook'",
            # For deliveries that were canceled, among many that were not.
            f"""
            CREATE INDEX outbox_settled_webhook_rare ON outbox_settled {_OF_SUBSCRIBER}
            WHERE effect = 'webhook' AND outcome <> 'delivered'
            """,
        ]
    )


def downgrade() -> None:
    statements.execute(
        [
            "DROP INDEX outbox_settled_webhook_rare, outbox_settled_webhook, outbox_webhook",
            "ALTER TABLE webhook_subscribers DROP COLUMN enabled_at",
        ]
    )
