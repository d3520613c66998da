"""What the runtime roles may change, tried column by column; this list is the whole of it (P4, P7)."""

import asyncpg

from tests.support.databases import Clone

COMMON = {
    "history": ("", False),
    "partition_upkeep": ("ran_at", False),
    "api_keys": ("client scopes revoked_at", False),
    "heartbeats": ("at detail", True),
    "check_results": ("last_run_at violations fixed fixed_total examples error", False),
    "check_runs": ("claimed_at", False),
    "alerts": ("severity subject seen_at opened_at reminded_at closed_at", True),
    "alert_notices": ("due_at attempts sent_at via", False),
    "alembic_version": ("", False),
}
WEBHOOK_SUBSCRIBERS = ("key_id secret_version previous_key_id rotated_at enabled_at disabled_at disabled_reason", True)
# By table: the columns that may be updated, and whether rows may be deleted.
MAY = {
    "signup": COMMON
    | {
        "users": (
            (
                "email email_key name locale status external_id metadata updated_at verified_at erased_at last_mail_at"
                " written_by_key stranger_mails window_began_at mails_in_window"
            ),
            False,
        ),
        "stranger_mail_budget": ("spent_until", False),
        "used_challenges": ("", True),
        "idempotency_keys": ("status answer user_id", True),
        "outbox": ("state due_at lease attempts last_error created_at expires_at dead_at", True),
        "outbox_settled": ("", False),
        "imports": (
            (
                "state receiver received_at body_digest row_count done_through_line created already_exists duplicate"
                " invalid mails_owed next_mail_at failure cleaned_at actor correlation_id traceparent finished_at"
            ),
            True,
        ),
        "import_rows": ("raw outcome reason external_id email email_key user_id", True),
        "signup_statistics": ("count", False),
        "webhook_subscribers": WEBHOOK_SUBSCRIBERS,
        "mail_outcomes": (
            "mail_id state message_id fingerprint sent_at failure_code failure_enhanced_code changed_at",
            False,
        ),
        "mail_feed": ("cursor moved_at", False),
        "reconciliation_runs": (
            (
                "state verdict phase position compared missing lost_records unexpected different stuck"
                " unserved_users known repaired examples due_at lease faults last_error finished_at"
            ),
            False,
        ),
        "reconciliation_findings": ("run_id mail_id user_id reason mark repairable found_at repaired_at", False),
    },
    "mail": COMMON
    | {
        "mails": (
            (
                "state to_email to_key to_name metadata attempts gateway sent_at next_attempt_at expires_at"
                " failure_reason failure_code failure_enhanced_code failure_reply restored restored_message_id"
                " resends"
            ),
            False,
        ),
        "contents": ("", True),
        "attachments": ("", True),
        "attachment_blobs": ("", True),
        "queue": ("due_at lease attempt", True),
        "attempts": ("lease gateway phase outcome counted transmitting_at ended_at code enhanced_code reply", False),
        "suppressions": ("reason source mail_id created_at ends_at", True),
        "lost_mails": ("", False),
        "bounces": ("mail_id outcome diagnostic", False),
        "provider_event_tokens": ("seen_at", True),
        "retention_runs": ("ran_at contents_wiped addresses_wiped", False),
        "gateway_rates": ("next_at", False),
        "gateway_recipients": ("refused domain_accepted at", True),
        "feed_base": ("", False),
        "webhook_subscribers": WEBHOOK_SUBSCRIBERS,
        "webhook_feeds": ("since position entry_id", True),
        "webhook_deliveries": ("due_at lease attempts last_status last_error", True),
        "webhook_deliveries_settled": ("", False),
    },
}
COLUMNS = """
SELECT c.relname::text AS table, a.attname::text AS column FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY 1, 2
"""


async def _may(pool: asyncpg.Pool, statement: str) -> bool:
    try:
        await pool.execute(statement)
    except asyncpg.InsufficientPrivilegeError:
        return False
    return True


async def test_the_runtime_role_changes_what_is_listed_and_nothing_else(either_database: Clone) -> None:
    clone = either_database
    service = "mail" if "/mail" in clone.owner_url else "signup"
    pool = clone.database.pool
    owner = await asyncpg.connect(clone.owner_url)
    columns: dict[str, list[str]] = {}
    for row in await owner.fetch(COLUMNS):
        columns.setdefault(row["table"], []).append(row["column"])
    await owner.close()
    assert columns.keys() == MAY[service].keys()
    for table, (updated, deletes) in MAY[service].items():
        tried = {
            name for name in columns[table] if await _may(pool, f'UPDATE {table} SET "{name}" = "{name}" WHERE false')
        }
        assert tried == set(updated.split()), table
        assert await _may(pool, f"DELETE FROM {table} WHERE false") is deletes, table
        assert not await _may(pool, f"TRUNCATE {table}"), table
