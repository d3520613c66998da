"""The SQL that follows the mail service's change feed."""

from .queries import BEGINNING

READ_CURSOR = "SELECT cursor FROM mail_feed"

# One commit for the outcomes and the cursor. A worker that read from another cursor than the stored one writes nothing.
# The last of several changes of a mail counts; that it was sent is never taken back.
KEEP_OUTCOMES_IF_READ_FROM_CURSOR = """
WITH moved AS (
    UPDATE mail_feed SET cursor = $2, moved_at = now() WHERE cursor IS NOT DISTINCT FROM $1 RETURNING true
), kept AS (
    INSERT INTO mail_outcomes AS f (
        request_id, mail_id, state, message_id, fingerprint, sent_at, failure_code, failure_enhanced_code, changed_at
    )
    SELECT DISTINCT ON (r.request_id) r.request_id, r.mail_id, r.state, r.message_id, r.fingerprint, r.sent_at,
           r.failure_code, r.failure_enhanced_code, r.at
    FROM moved, unnest(
        $3::text[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::timestamptz[], $9::int[], $10::text[],
        $11::timestamptz[]
    ) WITH ORDINALITY AS r (
        request_id, mail_id, state, message_id, fingerprint, sent_at, failure_code, failure_enhanced_code, at, n
    )
    ORDER BY r.request_id, r.n DESC
    ON CONFLICT (request_id) DO UPDATE SET
        mail_id = excluded.mail_id, state = excluded.state, changed_at = excluded.changed_at,
        failure_code = excluded.failure_code, failure_enhanced_code = excluded.failure_enhanced_code,
        message_id = CASE WHEN f.sent_at IS NULL THEN excluded.message_id ELSE f.message_id END,
        fingerprint = CASE WHEN f.sent_at IS NULL THEN excluded.fingerprint ELSE f.fingerprint END,
        sent_at = coalesce(f.sent_at, excluded.sent_at)
)
SELECT EXISTS (SELECT FROM moved)
"""

# Back to the beginning, once for each loss; requests a reconciliation over everything.
START_AGAIN_IF_AT_CURSOR = f"""
WITH moved AS (
    UPDATE mail_feed SET cursor = NULL, moved_at = now() WHERE cursor = $1 RETURNING true
), run AS (
    INSERT INTO reconciliation_runs (window_from, window_to, repair, actor)
    SELECT {BEGINNING}, now() - make_interval(secs => $3), true, $2 FROM moved
    RETURNING id
)
INSERT INTO history (kind, subject, related, actor)
SELECT 'feed.cursor_lost', 'mail', ARRAY[id::text], $2 FROM run
"""

# What the mail service remembers of mails whose rows were deleted there: the feed no longer has lines for them. A final
# state known here stays, and that a mail was sent is never taken back.
LEARN_OF_LOST_MAILS = """
INSERT INTO mail_outcomes AS f (request_id, mail_id, state, message_id, fingerprint, sent_at, changed_at)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[])
    AS r (request_id, mail_id, state, message_id, fingerprint, sent_at, at)
ORDER BY r.request_id
ON CONFLICT (request_id) DO UPDATE SET
    state = CASE WHEN f.state IN ('queued', 'sending', 'deferred') THEN excluded.state ELSE f.state END,
    changed_at = greatest(f.changed_at, excluded.changed_at),
    message_id = CASE WHEN f.sent_at IS NULL THEN excluded.message_id ELSE f.message_id END,
    fingerprint = CASE WHEN f.sent_at IS NULL THEN excluded.fingerprint ELSE f.fingerprint END,
    sent_at = coalesce(f.sent_at, excluded.sent_at)
"""
