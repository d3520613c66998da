"""SQL of bounces. `INGEST_IF_NEW` is one transaction: the notice, its effects on the mail, and history."""

# History names the client's own IDs, so that a search for one of them finds the mail.
_RELATED = """
ARRAY[m.request_id, m.client]
    || ARRAY(SELECT e.value FROM jsonb_each_text(m.metadata) e WHERE right(e.key, 3) = '_id' AND e.value IS NOT NULL)
"""

_MATCHING = """
FROM mails m{joined}
WHERE (m.id = ANY($1::uuid[]) OR m.restored_message_id = ANY($2::text[]))
  -- True when $3 is NULL. Keeps the planner off the index of a client's mails, which may be nearly all mails.
  AND (m.client = $3::text) IS NOT FALSE
ORDER BY array_position($1::uuid[], m.id) LIMIT 1
"""

# The actor of a provider's event is `provider:NAME`; a notice from the mailbox has the actor of its key.
_PROVIDER = "CASE WHEN starts_with($11, 'provider:') THEN substr($11, 10) END"
_PROOF = "CASE WHEN starts_with($11, 'provider:') THEN 'its provider reports it' ELSE 'bounce quotes it' END"

# $1 candidate mail IDs, best first, $2 Message-IDs, $3 the client whose mail it must be (NULL: any), $4 digest of the
# whole notice, $5 kind, $6 status, $7 code, $8 diagnostic, $9 our reason, $10 whether the address is dead, $11 actor,
# $12 days until a suppression by a bounce ends (0: never).
#
# A complaint takes the place of a suppression that a bounce or refusal gave: that one would end.
# The mail is locked first, so the second of two concurrent notices sees the effects of the first. A notice that was
# seen before changes and returns nothing, unless no mail of the caller matched it then and one does now.
# While the mail is being sent, nothing is stored and the outcome is NULL: the attempt is about to be recorded.
# A report about an uncertain mail proves that it was sent, whatever the report says (P5). So does one about a mail that
# waits to be sent again after an attempt that ended `unknown`: it leaves the queue, unless a worker has it. The queue
# is locked before the ledger, as in every statement.
INGEST_IF_NEW = f"""
WITH dequeued AS MATERIALIZED (
    DELETE FROM queue q
    WHERE q.mail_id = (SELECT m.id {_MATCHING.format(joined="")}) AND q.lease IS NULL AND $5 <> 'other'
      AND EXISTS (SELECT FROM attempts a WHERE a.mail_id = q.mail_id AND a.outcome = 'unknown')
      AND NOT EXISTS (SELECT FROM bounces b WHERE b.digest = $4 AND b.mail_id IS NOT NULL)
    RETURNING q.mail_id
),
found AS MATERIALIZED (
    SELECT m.id, m.state, m.to_email IS NULL AS erased, d.mail_id IS NOT NULL AS dequeued
    {_MATCHING.format(joined=" LEFT JOIN dequeued d ON d.mail_id = m.id")}
    FOR UPDATE OF m
),
stored AS (
    INSERT INTO bounces (mail_id, digest, provider, kind, outcome, status, code, diagnostic)
    SELECT f.id, $4::bytea, {_PROVIDER}, $5::text,
           CASE WHEN f.id IS NULL THEN 'unmatched' ELSE
               CASE $5 WHEN 'failed' THEN 'bounced' WHEN 'other' THEN 'ignored' ELSE $5 END
           END,
           $6::text, $7::smallint, CASE WHEN f.erased THEN NULL ELSE $8::text END
    FROM (SELECT) AS notice LEFT JOIN found f ON true
    -- A message that reports nothing and matches no mail is not kept.
    WHERE (f.id IS NOT NULL OR $5 <> 'other') AND f.state IS DISTINCT FROM 'sending'
    ON CONFLICT (digest) DO UPDATE
        SET mail_id = excluded.mail_id, outcome = excluded.outcome, diagnostic = excluded.diagnostic
        WHERE bounces.mail_id IS NULL AND excluded.mail_id IS NOT NULL
    RETURNING mail_id, outcome
),
matched AS MATERIALIZED (
    SELECT f.*,
           (f.dequeued OR f.state = 'uncertain') AND $5 <> 'other' AS proved,
           (f.dequeued OR f.state IN ('sent', 'uncertain')) AND $5 = 'failed' AS bounced
    FROM found f JOIN stored s ON s.mail_id = f.id
),
updated AS (
    UPDATE mails m
    SET state = CASE WHEN t.bounced THEN 'bounced' ELSE 'sent' END, next_attempt_at = NULL,
        sent_at = CASE WHEN t.proved THEN coalesce(
            (SELECT max(transmitting_at) FROM attempts WHERE mail_id = m.id AND outcome = 'unknown'), now()
        ) ELSE m.sent_at END,
        failure_reason = CASE WHEN t.bounced THEN $9 END,
        failure_code = CASE WHEN t.bounced THEN $7 END,
        failure_enhanced_code = CASE WHEN t.bounced THEN $6 END,
        failure_reply = CASE WHEN t.bounced AND NOT t.erased THEN $8 END
    FROM matched t WHERE m.id = t.id AND (t.proved OR t.bounced)
),
suppressed AS (
    INSERT INTO suppressions AS s (email_key, email, reason, source, mail_id, ends_at)
    SELECT m.to_key, m.to_email, $9, CASE $5 WHEN 'complaint' THEN 'complaint' ELSE 'bounce' END, m.id,
           CASE WHEN $5 <> 'complaint' AND $12::int > 0 THEN now() + make_interval(days => $12::int) END
    FROM matched t JOIN mails m ON m.id = t.id WHERE $10::bool AND m.to_key IS NOT NULL
    ON CONFLICT (email_key) DO UPDATE
        SET reason = excluded.reason, source = excluded.source, mail_id = excluded.mail_id, created_at = now(),
            ends_at = excluded.ends_at
        WHERE s.ends_at <= now() OR (excluded.source = 'complaint' AND s.source IN ('smtp', 'bounce'))
    RETURNING email_key, mail_id
),
entries AS (
    SELECT 1 AS place, t.id, 'mail.resolved' AS kind,
           jsonb_build_object('state', 'sent', 'as', 'sent', 'reason', {_PROOF}) AS detail
    FROM matched t WHERE t.proved
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
    FROM matched t WHERE $5 <> 'other'
),
history_of_mail AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT e.kind, m.id::text, {_RELATED}, $11::text, m.correlation_id, m.traceparent, e.detail
    FROM entries e JOIN mails m ON m.id = e.id
    ORDER BY e.place
),
history_of_address AS (
    INSERT INTO history (kind, subject, related, actor)
    SELECT 'address.suppressed', 'address:' || left(encode(sha256(convert_to(email_key, 'UTF8')), 'hex'), 32),
           ARRAY[mail_id::text], $11::text
    FROM suppressed
)
SELECT mail_id, outcome FROM stored
UNION ALL
SELECT id, NULL FROM found WHERE state = 'sending' AND NOT EXISTS (SELECT FROM bounces WHERE digest = $4)
"""

# $1 digest, $2 the client whose mail it must be about.
FIND_SEEN_BEFORE = """
SELECT b.mail_id, b.outcome FROM bounces b LEFT JOIN mails m ON m.id = b.mail_id
WHERE b.digest = $1 AND (b.mail_id IS NULL OR $2::text IS NULL OR m.client = $2)
"""
