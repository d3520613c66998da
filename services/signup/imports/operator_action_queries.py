"""The SQL of pausing, resuming and canceling imports, of cleanup, and of excluding rows."""

LOCK_IMPORT = """
SELECT state, EXISTS (SELECT FROM outbox WHERE import_id = imports.id AND state <> 'dead') AS mails_left
FROM imports WHERE id = $1 AND client = $2 FOR NO KEY UPDATE
"""

MOVE = """
WITH moved AS (
    UPDATE imports SET
        state = $2, receiver = NULL, finished_at = CASE WHEN $2 = 'canceled' THEN now() END,
        next_mail_at = CASE WHEN $2 = 'running' THEN now() ELSE next_mail_at END
    WHERE id = $1
    RETURNING *
)
INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
SELECT $3, id::text, ARRAY[client], $4, $5, $6, jsonb_build_object('done_through_line', done_through_line) FROM moved
"""

# These three move the mails of an import in batches, each fenced by the import's state. They skip rows that the relay
# has leased: if such a row is released, cleanup finds it. Arrays, not joins, here and below: the plan for any limit
# would expect a tenth of the table (ADR 0045).
HOLD_MAILS_IF_PAUSED = """
WITH paused AS (
    SELECT id FROM imports WHERE id = $1 AND state = 'paused' FOR NO KEY UPDATE
), waiting AS MATERIALIZED (
    SELECT outbox.id FROM paused JOIN outbox ON outbox.import_id = paused.id
    WHERE outbox.state = 'pending' AND outbox.due_at < 'infinity' LIMIT $2 FOR UPDATE OF outbox SKIP LOCKED
), held AS (
    UPDATE outbox SET due_at = 'infinity' WHERE id = ANY(ARRAY(SELECT id FROM waiting)) RETURNING id
)
SELECT count(*) FROM held
"""

# Mails become due at the import's pace, from now on.
RELEASE_MAILS_IF_RUNNING = """
WITH pace AS (
    SELECT id, greatest(now(), next_mail_at) AS first_at,
        CASE WHEN mails_per_minute = 0 THEN 0 ELSE 60.0 / mails_per_minute END AS gap_seconds
    FROM imports WHERE id = $1 AND state = 'running' FOR NO KEY UPDATE
), held AS MATERIALIZED (
    SELECT outbox.id FROM pace JOIN outbox ON outbox.import_id = pace.id
    -- The API and every worker release at once: what another has released meanwhile is not placed again.
    WHERE outbox.state = 'pending' AND outbox.due_at = 'infinity' LIMIT $2 FOR UPDATE OF outbox SKIP LOCKED
), placed AS (
    SELECT held.id, first_at + make_interval(secs => gap_seconds * (row_number() OVER (ORDER BY held.id) - 1)) AS due
    FROM held, pace
), released AS (
    UPDATE outbox SET due_at = due, created_at = due, expires_at = due + make_interval(secs => $3)
    FROM placed WHERE outbox.id = placed.id AND outbox.id = ANY(ARRAY(SELECT id FROM held))
    RETURNING outbox.id
), paced AS (
    UPDATE imports SET
        next_mail_at = first_at + make_interval(secs => gap_seconds * (SELECT count(*) FROM released))
    FROM pace WHERE imports.id = pace.id AND EXISTS (SELECT FROM released)
)
SELECT count(*) FROM released
"""

CANCEL_MAILS_IF_CANCELED = """
WITH canceled AS (
    SELECT id FROM imports WHERE id = $1 AND state = 'canceled' FOR NO KEY UPDATE
), waiting AS MATERIALIZED (
    SELECT outbox.id FROM canceled JOIN outbox ON outbox.import_id = canceled.id
    WHERE outbox.state IN ('pending', 'dead') LIMIT $2 FOR UPDATE OF outbox SKIP LOCKED
), gone AS (
    DELETE FROM outbox WHERE id = ANY(ARRAY(SELECT id FROM waiting)) RETURNING *
), kept AS (
    INSERT INTO outbox_settled
        (id, effect, user_id, payload, outcome, result, attempts, created_at, correlation_id, traceparent)
    SELECT id, effect, user_id, payload, 'canceled', jsonb_build_object('import_id', import_id), attempts,
        least(created_at, now()), correlation_id, traceparent
    FROM gone
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT 'outbox.canceled', id::text, ARRAY[user_id::text, import_id::text], 'import', correlation_id, traceparent,
        jsonb_build_object('effect', effect)
    FROM gone
)
SELECT count(*) FROM gone
"""

# --- cleanup

# The client or the API died during the upload. The same key starts it again.
FAIL_ABANDONED = """
WITH failed AS (
    UPDATE imports SET state = 'failed', receiver = NULL, failure = $2, finished_at = now()
    WHERE state = 'receiving' AND received_at < now() - make_interval(secs => $1)
    RETURNING *
)
INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
SELECT 'import.failed', id::text, ARRAY[client], 'signup-worker', correlation_id, traceparent,
    jsonb_build_object('reason', $2)
FROM failed
"""

LIST_NOT_CLEANED = """
SELECT id FROM imports
WHERE state IN ('running', 'paused') OR (state IN ('failed', 'canceled') AND cleaned_at IS NULL)
ORDER BY id
"""

# Unprocessed rows are not needed any more. The state is checked again: the same key may have restarted the import.
DELETE_UNPROCESSED = """
WITH over AS (
    SELECT id, done_through_line FROM imports
    WHERE id = $1 AND state IN ('failed', 'canceled') AND cleaned_at IS NULL FOR NO KEY UPDATE
), gone AS (
    DELETE FROM import_rows USING over WHERE import_id = over.id AND line = ANY(ARRAY(
        SELECT r.line FROM import_rows AS r, over
        WHERE r.import_id = over.id AND r.line > over.done_through_line LIMIT $2
    ))
    RETURNING line
)
SELECT count(*) FROM gone
"""

MARK_CLEANED = """
UPDATE imports SET cleaned_at = now()
WHERE id = $1 AND state IN ('failed', 'canceled') AND NOT EXISTS (SELECT FROM outbox WHERE import_id = $1)
"""

# --- after signup's database was restored to an earlier time

LIST_OPEN = """
SELECT id, client, source, state, row_count AS rows, done_through_line, created, mails_owed, created_at
FROM imports WHERE state IN ('receiving', 'running', 'paused') ORDER BY id
"""

LOCK_IF_PAUSED = "SELECT id, done_through_line FROM imports WHERE id = $1 AND state = 'paused' FOR NO KEY UPDATE"

UNPROCESSED_ROWS = """
SELECT line, raw FROM import_rows WHERE import_id = $1 AND line > $2 AND raw IS NOT NULL ORDER BY line
"""

# $2 actor, $3 number of lines, $4 reason.
NOTE_SKIPPED = """
INSERT INTO history (kind, subject, related, actor, detail)
SELECT 'import.lines_skipped', id::text, ARRAY[client], $2, jsonb_build_object('lines', $3::int, 'reason', $4::text)
FROM imports WHERE id = $1
"""

# --- erasing

LOCK_OPEN = """
SELECT id, source, done_through_line FROM imports WHERE state IN ('receiving', 'running', 'paused')
ORDER BY id FOR NO KEY UPDATE
"""

# `escape` writes a backslash for each non-ASCII byte and for each backslash of a JSON escape: those rows always match.
ROWS_THAT_MAY_MATCH = """
SELECT line, raw
FROM import_rows, LATERAL (SELECT lower(encode(raw, 'escape') COLLATE "C") AS written) AS as_text
WHERE import_id = $1 AND line > $2 AND raw IS NOT NULL
    AND (strpos(written, $3) > 0 OR strpos(written, $4) > 0 OR strpos(written, chr(92)) > 0)
"""

EXCLUDE_IF_UNPROCESSED = """
UPDATE import_rows SET raw = NULL, reason = $3 WHERE import_id = $1 AND line = ANY ($2::int[]) AND outcome IS NULL
"""
