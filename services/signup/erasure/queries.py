"""The SQL of erasing users. Run in this order in one transaction: each statement sees what the lock waited for."""

from ..accounts.queries import owing

# Signing up, verifying and owing a mail all write or reference this row, so they wait for this lock.
LOCK_UNLESS_ERASED = """
SELECT id, email_key, source, external_id FROM users WHERE id = ANY ($1::uuid[]) AND status <> 'erased'
ORDER BY id FOR UPDATE
"""

USER_EXISTS = "SELECT EXISTS (SELECT FROM users WHERE id = $1)"

# The mail service may still accept a mail that a worker has claimed, until the lease ends.
CANCEL_MAILS_OF_USERS = """
WITH gone AS (
    DELETE FROM outbox WHERE user_id = ANY ($1::uuid[]) AND effect = 'mail' RETURNING *
), kept AS (
    INSERT INTO outbox_settled
        (id, effect, user_id, payload, outcome, result, attempts, created_at, correlation_id, traceparent)
    SELECT
        id, effect, user_id, payload - '{to,details}'::text[], 'canceled', '{"reason": "The user was erased"}',
        attempts, created_at, correlation_id, traceparent
    FROM gone
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        'outbox.canceled', id::text, ARRAY[user_id::text], $2, correlation_id, traceparent,
        jsonb_build_object('effect', effect, 'reason', 'The user was erased')
    FROM gone
)
SELECT user_id, max(due_at) FILTER (WHERE state = 'leased') AS leased_until FROM gone GROUP BY user_id
"""

ERASE_LOCKED = f"""
WITH locked AS (
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[]) AS locked (id, leased_until)
), erased AS (
    UPDATE users SET
        status = 'erased', erased_at = now(), updated_at = now(), email = NULL, email_key = NULL, name = NULL,
        external_id = NULL, metadata = '{{}}', last_mail_at = NULL
    FROM locked WHERE users.id = locked.id
    RETURNING users.id, source, leased_until
), owed AS (
    INSERT INTO outbox (effect, user_id, payload, due_at, expires_at, correlation_id, traceparent)
    SELECT
        effect, erased.id, jsonb_build_object('event', event) || more,
        CASE WHEN effect = 'erase_mail' THEN greatest(now(), leased_until) ELSE now() END,
        now() + make_interval(secs => $3), $6, $7
    FROM erased JOIN {owing("$8", "$9")} ON event = 'user.erased'
)
INSERT INTO history (kind, subject, actor, correlation_id, traceparent, detail)
SELECT $4, id::text, $5, $6, $7, jsonb_build_object('source', source) FROM erased
"""

# Settled rows are append-only for this role. The function removes personal data from rows of erased users only.
ERASE_PAYLOADS = "SELECT erase_user_payloads($1)"

# The key stays used: a late repetition of the request must not sign the user up again.
ERASE_STORED_ANSWERS = "UPDATE idempotency_keys SET answer = NULL WHERE user_id = ANY ($1::uuid[])"

# By address as well: rows whose address already had an account.
ERASE_IMPORT_ROWS = """
UPDATE import_rows SET email = NULL, email_key = NULL, external_id = NULL
WHERE outcome IS NOT NULL AND (user_id = ANY ($1::uuid[]) OR email_key = ANY ($2::text[]))
"""

# The ID bound keeps the scan short: newer users have larger UUIDv7s. The days count from the last mail handed over: a
# paced or paused import mails its users long after it created them. A pending mail blocks removal; a dead one does not,
# because it may stay dead forever.
LOCK_STALE_PENDING = """
SELECT id, email_key FROM users
WHERE status = 'pending' AND id < (SELECT uuidv7(make_interval(days => -$1::int)))
    AND updated_at < now() - make_interval(days => $1::int)
    AND (last_mail_at IS NULL OR last_mail_at < now() - make_interval(days => $1::int))
    AND NOT EXISTS (
        SELECT FROM outbox WHERE outbox.user_id = users.id AND effect = 'mail' AND state IN ('pending', 'leased')
    )
    AND NOT EXISTS (
        SELECT FROM outbox_settled AS settled
        WHERE settled.user_id = users.id AND effect = 'mail' AND outcome = 'delivered'
            AND settled_at >= now() - make_interval(days => $1::int)
    )
ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
"""
