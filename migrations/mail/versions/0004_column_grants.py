"""The runtime role updates only what changes and deletes no mail; tests/migrations/test_grants.py has the list.

A mail's Message-ID is written once. That of a record which was lost and restored stands in a column of its own.

Revises: 0003
"""

from migrations import column_grants, statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UPDATED = {
    "mails": "state, to_email, to_key, to_name, metadata, attempts, gateway, sent_at, next_attempt_at, expires_at,"
    " failure_reason, failure_code, failure_enhanced_code, failure_reply, restored, restored_message_id",
    "queue": "due_at, lease, attempt",
    "attempts": "lease, gateway, phase, outcome, counted, transmitting_at, ended_at, code, enhanced_code, reply",
    "suppressions": "reason, source, mail_id, created_at, ends_at",
    "bounces": "mail_id, outcome, diagnostic",
    "retention_runs": "ran_at, contents_wiped, addresses_wiped",
    "gateway_rates": "next_at",
    "gateway_recipients": "refused, domain_accepted, at",
    "contents": "",
    **column_grants.COMMON_UPDATED,
}
NOT_DELETED = ("mails", "attempts", *column_grants.COMMON_NOT_DELETED)
# What a trigger keeps of a deleted mail: the Message-ID under which it was sent.
_REMEMBER = """
DO $do$ BEGIN
    EXECUTE replace(pg_get_functiondef('remember_lost_mails()'::regprocedure), {0}, {1});
END $do$
"""
_OWN = "'state, message_id, accepted_at, sent_at FROM'"
_SENT = "'state, coalesce(restored_message_id, message_id), accepted_at, sent_at FROM'"


def upgrade() -> None:
    statements.execute(
        [
            "ALTER TABLE mails ADD COLUMN restored_message_id text",
            "UPDATE mails SET restored_message_id = message_id WHERE restored",
            "DROP INDEX mails_restored",
            "CREATE INDEX mails_restored ON mails (restored_message_id) WHERE restored_message_id IS NOT NULL",
            _REMEMBER.format(_OWN, _SENT),
            *column_grants.narrow_grants(UPDATED, NOT_DELETED),
        ]
    )


def downgrade() -> None:
    updated = {**UPDATED, "mails": UPDATED["mails"].removesuffix(", restored_message_id")}
    statements.execute(column_grants.widen_grants(updated, NOT_DELETED))
    statements.execute(
        [
            _REMEMBER.format(_SENT, _OWN),
            "DROP INDEX mails_restored",
            "UPDATE mails SET message_id = restored_message_id WHERE restored_message_id IS NOT NULL",
            "ALTER TABLE mails DROP COLUMN restored_message_id",
            "CREATE INDEX mails_restored ON mails (message_id) WHERE restored",
        ]
    )
