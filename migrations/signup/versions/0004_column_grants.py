"""The runtime role updates only what changes and deletes no user; tests/migrations/test_grants.py has the list.

Revises: 0003
"""

from migrations import column_grants, statements

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

UPDATED = {
    "users": "email, email_key, name, locale, status, external_id, metadata, updated_at, verified_at, erased_at,"
    " last_mail_at, written_by_key",
    "idempotency_keys": "status, answer, user_id",
    "outbox": "state, due_at, lease, attempts, last_error, created_at, expires_at, dead_at",
    "imports": "state, receiver, received_at, body_digest, row_count, done_through_line, created, already_exists,"
    " duplicate, invalid, mails_owed, next_mail_at, failure, cleaned_at, actor, correlation_id, traceparent,"
    " finished_at",
    "import_rows": "raw, outcome, reason, external_id, email, email_key, user_id",
    "signup_statistics": "count",
    "webhook_subscribers": "key_id, secret_version, previous_key_id, rotated_at, disabled_at, disabled_reason",
    "mail_outcomes": "mail_id, state, message_id, fingerprint, sent_at, failure_code, failure_enhanced_code,"
    " changed_at",
    "mail_feed": "cursor, moved_at",
    "reconciliation_runs": "state, verdict, phase, position, compared, missing, lost_records, unexpected, different,"
    " stuck, unserved_users, known, repaired, examples, due_at, lease, faults, last_error, finished_at",
    "reconciliation_findings": "run_id, mail_id, user_id, reason, mark, repairable, found_at, repaired_at",
    **column_grants.COMMON_UPDATED,
}
NOT_DELETED = ("users", *column_grants.COMMON_NOT_DELETED)


def upgrade() -> None:
    statements.execute(column_grants.narrow_grants(UPDATED, NOT_DELETED))


def downgrade() -> None:
    statements.execute(column_grants.widen_grants(UPDATED, NOT_DELETED))
