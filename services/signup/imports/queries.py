"""The SQL of imports. Writes of an upload are fenced by its `receiver` token, writes of the worker by a row lock."""

from ..accounts.queries import owing

_IMPORT = """
    id, source, state, dry_run, row_count, done_through_line, created, already_exists, duplicate, invalid, mails_owed,
    mails_per_minute, failure, created_at, finished_at
"""
_LEFT = "(SELECT count(*) FROM outbox WHERE outbox.import_id = imports.id) AS mails_left"

# --- upload

OPEN_IF_KEY_IS_FREE = """
INSERT INTO imports (
    client, idempotency_key, receiver, source, media, dry_run, mails_per_minute, actor, correlation_id, traceparent
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (client, idempotency_key) DO NOTHING
RETURNING id
"""

FIND_BY_KEY = f"""
SELECT {_IMPORT}, {_LEFT}, media, body_digest FROM imports WHERE client = $1 AND idempotency_key = $2
"""

# The previous upload's token stops matching. The same transaction deletes the staged rows.
TAKE_OVER_IF_INCOMPLETE = """
UPDATE imports SET
    state = 'receiving', receiver = $2, received_at = now(), row_count = 0, failure = NULL, finished_at = NULL,
    cleaned_at = NULL, actor = $3, correlation_id = $4, traceparent = $5
WHERE id = $1 AND state IN ('receiving', 'failed')
RETURNING id
"""

DELETE_STAGED_ROWS = "DELETE FROM import_rows WHERE import_id = $1"

STAGE_IF_RECEIVING = """
WITH mine AS (
    UPDATE imports SET received_at = now(), row_count = row_count + cardinality($3::int[])
    WHERE id = $1 AND receiver = $2
    RETURNING id
), staged AS (
    INSERT INTO import_rows (import_id, line, raw, reason)
    SELECT mine.id, batch.line, batch.raw, batch.reason
    FROM mine, unnest($3::int[], $4::bytea[], $5::text[]) AS batch (line, raw, reason)
)
SELECT count(*) FROM mine
"""

START_IF_RECEIVING = f"""
WITH started AS (
    UPDATE imports SET state = 'running', receiver = NULL, body_digest = $3 WHERE id = $1 AND receiver = $2
    RETURNING *
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT 'import.received', id::text, ARRAY[client], actor, correlation_id, traceparent,
        jsonb_build_object('source', source, 'rows', row_count, 'dry_run', dry_run)
    FROM started
)
SELECT {_IMPORT}, 0 AS mails_left FROM started
"""

FAIL_IF_RECEIVING = """
WITH failed AS (
    UPDATE imports SET state = 'failed', receiver = NULL, failure = $3, finished_at = now()
    WHERE id = $1 AND receiver = $2
    RETURNING *
)
INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
SELECT 'import.failed', id::text, ARRAY[client], actor, correlation_id, traceparent, jsonb_build_object('reason', $3)
FROM failed
"""

# A refused body leaves nothing behind, and its key stays unused.
DISCARD_IF_RECEIVING = "DELETE FROM imports WHERE id = $1 AND receiver = $2"

# --- import loop

# The row lock is the lease: it ends with the transaction or with the worker (ADR 9). A worker that hangs while it holds
# the lock loses it after 30 s, and its transaction is rolled back.
LOCK_OLDEST_RUNNING = """
SELECT id, source, dry_run, mails_per_minute, done_through_line, actor, correlation_id, traceparent,
    set_config('idle_in_transaction_session_timeout', '30s', true)
FROM imports WHERE state = 'running' ORDER BY id LIMIT 1 FOR NO KEY UPDATE SKIP LOCKED
"""

NEXT_LINES = """
SELECT line, raw, reason FROM import_rows WHERE import_id = $1 AND line > $2 ORDER BY line LIMIT $3
"""

# Each value is looked up in its own index. Right after the upload, table statistics do not include this import: without
# the OFFSET 0 fences, the planner chooses an index on `import_id` or `users.source` and scans all of it.
FIND_KNOWN = """
SELECT 'file_emails' AS found_in, asked.value, found.user_id
FROM unnest($3::text[]) AS asked (value), LATERAL (
    SELECT user_id
    FROM (SELECT import_id, outcome, user_id FROM import_rows WHERE email_key = asked.value OFFSET 0) AS same
    WHERE import_id = $1 AND outcome IN ('created', 'already_exists') LIMIT 1
) AS found
UNION ALL
SELECT 'file_ids', asked.value, found.user_id
FROM unnest($4::text[]) AS asked (value), LATERAL (
    SELECT user_id
    FROM (
        SELECT import_id, user_id FROM import_rows
        WHERE external_id = asked.value AND outcome IN ('created', 'already_exists') OFFSET 0
    ) AS same
    WHERE import_id = $1 LIMIT 1
) AS found
UNION ALL
SELECT 'user_emails', asked.value, found.id
FROM unnest($3::text[]) AS asked (value), LATERAL (
    SELECT id FROM users WHERE email_key = asked.value LIMIT 1
) AS found
UNION ALL
SELECT 'user_ids', asked.value, found.id
FROM unnest($4::text[]) AS asked (value), LATERAL (
    SELECT id FROM (SELECT source, id FROM users WHERE external_id = asked.value OFFSET 0) AS same
    WHERE source = $2 LIMIT 1
) AS found
"""

# New users, the mail owed to each, and their history, as after a signup. Rows are locked in key order, as in SIGN_UP.
# Mails become due one by one at the import's pace, continuing from the previous batch. `created_at` is the due time, so
# that every link lives equally long and a paced mail does not count as backlog.
IMPORT_USERS = f"""
WITH pace AS (
    SELECT greatest(now(), next_mail_at) AS first_at,
        CASE WHEN mails_per_minute = 0 THEN 0 ELSE 60.0 / mails_per_minute END AS gap_seconds
    FROM imports WHERE id = $1
), asked AS MATERIALIZED (
    SELECT * FROM unnest(
        $8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bool[], $15::jsonb[]
    ) AS asked (line, external_id, email, email_key, name, locale, verified, metadata)
), person AS (
    INSERT INTO users (
        email, email_key, name, locale, metadata, source, external_id, written_by_key, status, verified_at,
        last_mail_at
    )
    SELECT
        email, email_key, name, locale, metadata, $2, external_id, true,
        CASE WHEN verified THEN 'verified' ELSE 'pending' END, CASE WHEN verified THEN now() END, now()
    FROM asked ORDER BY email_key COLLATE "C"
    ON CONFLICT DO NOTHING
    RETURNING id, email, email_key, name, locale, status
), placed AS (
    SELECT person.*, asked.line,
        pace.first_at + make_interval(secs => pace.gap_seconds * (row_number() OVER (ORDER BY asked.line) - 1)) AS due
    FROM person JOIN asked USING (email_key), pace
), owed AS (
    INSERT INTO outbox (
        effect, user_id, import_id, payload, due_at, created_at, expires_at, correlation_id, traceparent
    )
    SELECT
        'mail', id, $1,
        jsonb_build_object(
            'to', jsonb_build_object('email', email, 'name', name), 'locale', locale, 'lane', 'bulk'
        )
        || CASE WHEN status = 'verified' THEN jsonb_build_object('template', 'welcome') || ($3::jsonb - 'link')
           ELSE jsonb_build_object('template', 'verification') || $3::jsonb END,
        due, due, due + make_interval(secs => $4), $6, $7
    FROM placed ORDER BY line
    RETURNING id, user_id
), owed_beside AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id, traceparent)
    SELECT
        effect, placed.id, jsonb_build_object('event', event) || more, now() + make_interval(secs => $4), $6, $7
    FROM placed JOIN {owing("$16", "$17")} ON event = 'user.imported'
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        'user.imported', placed.id::text, ARRAY[owed.id::text, ($1::uuid)::text], $5, $6, $7,
        jsonb_build_object('status', status, 'source', $2::text, 'line', line, 'mail_owed', true)
    FROM placed JOIN owed ON owed.user_id = placed.id
), paced AS (
    UPDATE imports SET
        mails_owed = mails_owed + (SELECT count(*) FROM owed),
        next_mail_at = pace.first_at + make_interval(secs => pace.gap_seconds * (SELECT count(*) FROM owed))
    FROM pace WHERE imports.id = $1
)
SELECT line, id FROM placed
"""

SETTLE_LINES = """
WITH settled AS (
    SELECT * FROM unnest(
        $2::int[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[]
    ) AS settled (line, outcome, reason, external_id, email, email_key, user_id)
), written AS (
    UPDATE import_rows AS r SET
        raw = NULL, outcome = s.outcome, reason = s.reason, external_id = s.external_id, email = s.email,
        email_key = s.email_key, user_id = s.user_id
    FROM settled AS s WHERE r.import_id = $1 AND r.line = s.line
)
UPDATE imports SET
    done_through_line = (SELECT max(line) FROM settled),
    created = created + (SELECT count(*) FROM settled WHERE outcome = 'created'),
    already_exists = already_exists + (SELECT count(*) FROM settled WHERE outcome = 'already_exists'),
    duplicate = duplicate + (SELECT count(*) FROM settled WHERE outcome = 'duplicate'),
    invalid = invalid + (SELECT count(*) FROM settled WHERE outcome = 'invalid')
WHERE id = $1
"""

# Cleanup must first release the mails that a pause held: it does not process imports that are done.
FINISH_IF_NOTHING_IS_HELD = """
WITH finished AS (
    UPDATE imports SET state = 'done', finished_at = now()
    WHERE id = $1 AND NOT EXISTS (SELECT FROM outbox WHERE import_id = $1 AND due_at = 'infinity')
    RETURNING *
)
INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
SELECT 'import.done', id::text, ARRAY[client], 'signup-worker', correlation_id, traceparent, jsonb_build_object(
    'rows', row_count, 'created', created, 'already_exists', already_exists, 'duplicate', duplicate,
    'invalid', invalid, 'mails_owed', mails_owed, 'dry_run', dry_run
) FROM finished RETURNING id
"""

# --- listing

FIND_IMPORT = f"SELECT {_IMPORT}, {_LEFT} FROM imports WHERE id = $1 AND client = $2"

LIST_IMPORTS = f"""
SELECT {_IMPORT}, {_LEFT} FROM imports WHERE client = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""
