"""The SQL of bounces. `INGEST_IF_NEW` is one transaction: the notice, what it changes, and the lines of history."""

# Who reads history finds the mail by what its client calls things, as everywhere.
_RELATED = """
ARRAY[m.request_id, m.client]
    || ARRAY(SELECT e.value FROM jsonb_each_text(m.metadata) e WHERE right(e.key, 3) = '_id' AND e.value IS NOT NULL)
"""

_MATCHING = """
FROM mails m{joined}
WHERE (m.id = ANY($1::uuid[]) OR (m.restored AND m.message_id = ANY($2::text[])))
  -- True without a $3, and no condition for the index of a client's mails, which may be nearly all there are.
  AND (m.client = $3::text) IS NOT FALSE
ORDER BY array_position($1::uuid[], m.id) LIMIT 1
"""

# $1 the IDs it may be about, best first, $2 Message-IDs, $3 the client whose mail it must be (NULL: any), $4 digest of
# the whole notice, $5 kind, $6 status, $7 code, $8 diagnostic, $9 our words for it, $10 whether it suppresses_recipient the
# address, $11 who brought it.
#
# The mail is locked first, so of two notices at once the second sees what the first has done. A notice that was seen
# before changes nothing and returns nothing, unless no mail of the caller's was found for it then and one is now.
# While the mail is being sent nothing is taken in, and the outcome is NULL: what it may change is about to be written.
# An uncertain mail that somebody reports on has left, whatever the report says, and so it was sent (P5). So has one
# that waits to be sent again after an attempt that ended `unknown`: it leaves the queue, unless a worker has it. The
# queue comes before the ledger, as everywhere.
INGEST_IF_NEW = f"""
WITH spared AS MATERIALIZED (
    DELETE FROM queue q
    WHERE q.mail_id = (SELECT m.id {_MATCHING.format(joined="")}) AND q.lease IS NULL AND $5 <> 'other'
      AND EXISTS (SELECT FROM attempts a WHERE a.mail_id = q.mail_id AND a.outcome = 'unknown')
      AND NOT EXISTS (SELECT FROM bounces b WHERE b.digest = $4 AND b.mail_id IS NOT NULL)
    RETURNING q.mail_id
),
found AS MATERIALIZED (
    SELECT m.id, m.state, m.to_email IS NULL AS erased, s.mail_id IS NOT NULL AS spared
    {_MATCHING.format(joined=" LEFT JOIN spared s ON s.mail_id = m.id")}
    FOR UPDATE OF m
),
noted AS (
    INSERT INTO bounces (mail_id, digest, kind, outcome, status, code, diagnostic)
    SELECT f.id, $4::bytea, $5::text,
           CASE WHEN f.id IS NULL THEN 'unmatched' ELSE
               CASE $5 WHEN 'failed' THEN 'bounced' WHEN 'other' THEN 'ignored' ELSE $5 END
           END,
           $6::text, $7::smallint, CASE WHEN f.erased THEN NULL ELSE $8::text END
    FROM (SELECT) one LEFT JOIN found f ON true
    -- What reports nothing and is about no mail is not worth keeping.
    WHERE (f.id IS NOT NULL OR $5 <> 'other') AND f.state IS DISTINCT FROM 'sending'
    ON CONFLICT (digest) DO UPDATE
        SET mail_id = excluded.mail_id, outcome = excluded.outcome, diagnostic = excluded.diagnostic
        WHERE bounces.mail_id IS NULL AND excluded.mail_id IS NOT NULL
    RETURNING mail_id, outcome
),
told_of AS MATERIALIZED (
    SELECT f.*,
           (f.spared OR f.state = 'uncertain') AND $5 <> 'other' AS proved,
           (f.spared OR f.state IN ('sent', 'uncertain')) AND $5 = 'failed' AS bounced
    FROM found f JOIN noted n ON n.mail_id = f.id
),
moved AS (
    UPDATE mails m
    SET state = CASE WHEN t.bounced THEN 'bounced' ELSE 'sent' END, next_attempt_at = NULL,
        sent_at = CASE WHEN t.proved THEN coalesce(
            (SELECT max(transmitting_at) FROM attempts WHERE mail_id = m.id AND outcome = 'unknown'), now()
        ) ELSE m.sent_at END,
        failure_reason = CASE WHEN t.bounced THEN $9 ELSE m.failure_reason END,
        failure_code = CASE WHEN t.bounced THEN $7 ELSE m.failure_code END,
        failure_enhanced_code = CASE WHEN t.bounced THEN $6 ELSE m.failure_enhanced_code END,
        failure_reply = CASE WHEN NOT t.bounced THEN m.failure_reply WHEN NOT t.erased THEN $8 END
    FROM told_of t WHERE m.id = t.id AND (t.proved OR t.bounced)
),
condemned AS (
    INSERT INTO suppressions (email_key, email, reason, source, mail_id)
    SELECT m.to_key, m.to_email, $9, CASE $5 WHEN 'complaint' THEN 'complaint' ELSE 'bounce' END, m.id
    FROM told_of t JOIN mails m ON m.id = t.id WHERE $10::bool AND m.to_key IS NOT NULL
    ON CONFLICT (email_key) DO NOTHING
    RETURNING email_key, mail_id
),
lines AS (
    SELECT 1 AS place, t.id, 'mail.resolved' AS kind,
           '{{"state": "sent", "as": "sent", "reason": "bounce quotes it"}}'::jsonb AS detail
    FROM told_of t WHERE t.proved
    UNION ALL
    SELECT 2, t.id,
           CASE
               WHEN t.bounced THEN 'mail.bounced'
               WHEN $5 = 'failed' THEN 'mail.bounce_noted'
               WHEN $5 = 'complaint' THEN 'mail.complained'
               ELSE 'mail.' || $5
           END,
           jsonb_strip_nulls(jsonb_build_object('enhanced_code', $6, 'code', $7, 'reason', $9))
               || CASE WHEN t.bounced THEN '{{"state": "bounced"}}'::jsonb ELSE '{{}}' END
    FROM told_of t WHERE $5 <> 'other'
),
told AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT l.kind, m.id::text, {_RELATED}, $11::text, m.correlation_id, m.traceparent, l.detail
    FROM lines l JOIN mails m ON m.id = l.id
    ORDER BY l.place
),
told_of_address AS (
    INSERT INTO history (kind, subject, related, actor)
    SELECT 'address.suppressed', 'address:' || left(encode(sha256(convert_to(email_key, 'UTF8')), 'hex'), 32),
           ARRAY[mail_id::text], $11::text
    FROM condemned
)
SELECT mail_id, outcome FROM noted
UNION ALL
SELECT id, NULL FROM found WHERE state = 'sending' AND NOT EXISTS (SELECT FROM bounces WHERE digest = $4)
"""

# $1 digest, $2 the client whose mail it must be about.
FIND_SEEN_BEFORE = """
SELECT b.mail_id, b.outcome FROM bounces b LEFT JOIN mails m ON m.id = b.mail_id
WHERE b.digest = $1 AND (b.mail_id IS NULL OR $2::text IS NULL OR m.client = $2)
"""
