"""The SQL of erasing people. Run in this order in one transaction: each statement sees what the lock waited for."""

from .queries import owing

# Whoever signs up, verifies or is owed a mail changes this row or refers to it, and waits.
LOCK_UNLESS_ERASED = """
SELECT id, email_key, source, external_id FROM users WHERE id = ANY ($1::uuid[]) AND status <> 'erased'
ORDER BY id FOR UPDATE
"""

USER_EXISTS = "SELECT EXISTS (SELECT FROM users WHERE id = $1)"

# A mail that a worker holds at this moment may still be taken by the mail service until its lease is over.
CANCEL_MAILS_OF_USERS = """
WITH gone AS (
    DELETE FROM outbox WHERE user_id = ANY ($1::uuid[]) AND effect = 'mail' RETURNING *
), kept AS (
    INSERT INTO outbox_settled
        (id, effect, user_id, payload, outcome, result, attempts, created_at, correlation_id, traceparent)
    SELECT
        id, effect, user_id, payload - 'to', 'canceled', '{"reason": "The user was erased"}', attempts, created_at,
        correlation_id, traceparent
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

# Settled rows are append-only for this role; the function takes what is personal from those of erased users only.
ERASE_PAYLOADS = "SELECT erase_user_payloads($1)"

# The key itself stays used up: a late repetition of the request must not sign the person up again.
ERASE_FIRST_ANSWERS = "UPDATE idempotency_keys SET answer = NULL WHERE user_id = ANY ($1::uuid[])"

# By address as well: lines that named somebody who was there already.
ERASE_IMPORTED_LINES = """
UPDATE import_rows SET email = NULL, email_key = NULL, external_id = NULL
WHERE outcome IS NOT NULL AND (user_id = ANY ($1::uuid[]) OR email_key = ANY ($2::text[]))
"""

# New ones are younger than any ID that could be made so long ago, which keeps the walk short. Silence counts from when
# they were asked: the mails of a paced or paused import leave long after its people were written. A dead mail has asked
# nobody, and may stay dead for ever.
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
