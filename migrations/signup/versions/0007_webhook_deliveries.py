"""The delivery log of webhook subscribers, read and replayed from the outbox and its settled rows.

The indexes hold rows of the effect `webhook` only, so nothing else pays for them. Building those of `outbox_settled`
reads the whole table, and holds up what settles outbox rows meanwhile. Each is built in a transaction of its own, so
that signups, which write to `outbox`, do not wait as long; a revision that failed in between runs again.

Revises: 0006
"""

from alembic import op

from migrations import statements

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_OF_SUBSCRIBER = "((payload ->> 'subscriber_id'), (payload ->> 'event'), id)"


def upgrade() -> None:
    statements.execute(
        [
            "ALTER TABLE webhook_subscribers ADD COLUMN IF NOT EXISTS enabled_at timestamptz NOT NULL DEFAULT now()",
            "UPDATE webhook_subscribers SET enabled_at = created_at",
            f"GRANT UPDATE (enabled_at) ON webhook_subscribers TO {statements.runtime_role()}",
        ]
    )
    of_webhooks = f"{_OF_SUBSCRIBER} WHERE effect = 'webhook'"
    with op.get_context().autocommit_block():
        statements.execute(
            [
                f"CREATE INDEX IF NOT EXISTS outbox_webhook ON outbox {of_webhooks}",
                f"CREATE INDEX IF NOT EXISTS outbox_settled_webhook ON outbox_settled {of_webhooks}",
                # For deliveries that were canceled, among many that were not.
                f"""
                CREATE INDEX IF NOT EXISTS outbox_settled_webhook_rare ON outbox_settled {of_webhooks}
                AND outcome <> 'delivered'
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
