"""SQL of operator actions. Each is one transaction, and its name says in which states it has an effect.

$1 is the mail, $2 the client whose mail it must be (NULL: any), $3 the actor.
"""

from ..ledger.attachment_queries import ATTACHMENTS_AND_BYTES_WIPED

# `changed` is the mail after the change. The same statement changes the queue row, so no worker sees half of it.
_WRITE_HISTORY = """
history_written AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT c.kind, c.id::text,
           ARRAY[c.request_id, c.client]
               || ARRAY(SELECT e.value FROM jsonb_each_text(c.metadata) e WHERE right(e.key, 3) = '_id'),
           $3, c.correlation_id, c.traceparent, jsonb_build_object('state', c.state) || c.note
    FROM changed c
)
"""
_WRITE_HISTORY_AND_RETURN_ID = f"{_WRITE_HISTORY}SELECT id FROM changed"

# A leased row is being sent: its mail is `sending` and cannot be canceled.
CANCEL_IF_WAITING = f"""
WITH gone AS (
    DELETE FROM queue q USING mails m
    WHERE q.mail_id = $1 AND m.id = $1 AND q.lease IS NULL AND ($2::text IS NULL OR m.client = $2)
    RETURNING q.mail_id
), changed AS (
    UPDATE mails m SET state = 'canceled', next_attempt_at = NULL
    FROM gone WHERE m.id = gone.mail_id AND m.state IN ('queued', 'deferred')
    RETURNING m.id, m.request_id, m.client, m.metadata, m.correlation_id, m.traceparent, m.state,
              'mail.canceled' AS kind, '{{}}'::jsonb AS note
),
{_WRITE_HISTORY_AND_RETURN_ID}
"""

# $4: minimum lifetime in seconds from now, in case the mail has expired or soon will.
RETRY_IF_GIVEN_UP = f"""
WITH changed AS (
    UPDATE mails m SET state = 'queued', next_attempt_at = now(),
        expires_at = greatest(m.expires_at, now() + make_interval(secs => $4))
    WHERE m.id = $1 AND ($2::text IS NULL OR m.client = $2) AND m.state IN ('failed', 'expired')
      AND m.to_email IS NOT NULL AND EXISTS (SELECT FROM contents WHERE mail_id = m.id)
    RETURNING m.id, m.request_id, m.client, m.metadata, m.correlation_id, m.traceparent, m.state, m.lane,
              'mail.retried' AS kind, '{{}}'::jsonb AS note
), queued AS (
    INSERT INTO queue (mail_id, lane, due_at, attempt)
    SELECT id, lane, now(), coalesce((SELECT max(n) FROM attempts WHERE mail_id = id), 0) FROM changed
),
{_WRITE_HISTORY_AND_RETURN_ID}
"""

# $1 the state, $5 the ID after which to look, $6 how many mails to look at. The rest are conditions, NULL for none: $7
# gateway, $8 enhanced code, $9 and $10 the time span of the last attempt's end. Given up without an attempt: of expiry.
RETRY_MATCHING_IF_GIVEN_UP = f"""
WITH seen AS MATERIALIZED (
    SELECT id FROM mails WHERE rare_state = $1 AND id > $5 ORDER BY id LIMIT $6
), matching AS MATERIALIZED (
    SELECT m.id FROM mails m CROSS JOIN LATERAL (
        SELECT coalesce((SELECT max(ended_at) FROM attempts WHERE mail_id = m.id), m.expires_at) AS at
    ) AS given_up
    WHERE m.id = ANY(ARRAY(SELECT id FROM seen)) AND m.state = $1 AND (m.client = $2::text) IS NOT FALSE
      AND m.to_email IS NOT NULL AND EXISTS (SELECT FROM contents WHERE mail_id = m.id)
      AND (m.gateway = $7::text OR $7 IS NULL) AND (m.failure_enhanced_code = $8::text OR $8 IS NULL)
      AND (given_up.at >= $9::timestamptz OR $9 IS NULL) AND (given_up.at < $10::timestamptz OR $10 IS NULL)
    ORDER BY m.id FOR UPDATE OF m
), changed AS (
    UPDATE mails m SET state = 'queued', next_attempt_at = now(),
        expires_at = greatest(m.expires_at, now() + make_interval(secs => $4))
    WHERE m.id = ANY(ARRAY(SELECT id FROM matching))
    RETURNING m.id, m.request_id, m.client, m.metadata, m.correlation_id, m.traceparent, m.state, m.lane,
              'mail.retried' AS kind, '{{}}'::jsonb AS note
), queued AS (
    INSERT INTO queue (mail_id, lane, due_at, attempt)
    SELECT id, lane, now(), coalesce((SELECT max(n) FROM attempts WHERE mail_id = id), 0) FROM changed
),
{_WRITE_HISTORY}
SELECT (SELECT count(*) FROM changed) AS retried, (SELECT count(*) FROM seen) AS seen,
       (SELECT id FROM seen ORDER BY id DESC LIMIT 1) AS last
"""

RETRY_NOW_IF_DEFERRED = f"""
WITH due AS (
    UPDATE queue q SET due_at = now() FROM mails m
    WHERE q.mail_id = $1 AND m.id = $1 AND q.lease IS NULL AND ($2::text IS NULL OR m.client = $2)
      AND m.state = 'deferred'
    RETURNING q.mail_id
), changed AS (
    UPDATE mails m SET next_attempt_at = now() FROM due WHERE m.id = due.mail_id
    RETURNING m.id, m.request_id, m.client, m.metadata, m.correlation_id, m.traceparent, m.state,
              'mail.retried' AS kind, '{{}}'::jsonb AS note
),
{_WRITE_HISTORY_AND_RETURN_ID}
"""

# $4 the new state (`sent` or `canceled`), $5 the note. `sent_at` is the time of the last unknown attempt.
RESOLVE_IF_UNCERTAIN = f"""
WITH changed AS (
    UPDATE mails m SET state = $4,
        sent_at = CASE WHEN $4 = 'sent' THEN coalesce(
            (SELECT max(transmitting_at) FROM attempts WHERE mail_id = m.id AND outcome = 'unknown'), now()
        ) END,
        failure_reason = CASE WHEN $4 <> 'sent' THEN m.failure_reason END,
        failure_code = CASE WHEN $4 <> 'sent' THEN m.failure_code END,
        failure_enhanced_code = CASE WHEN $4 <> 'sent' THEN m.failure_enhanced_code END,
        failure_reply = CASE WHEN $4 <> 'sent' THEN m.failure_reply END
    WHERE m.id = $1 AND ($2::text IS NULL OR m.client = $2) AND m.state = 'uncertain'
    RETURNING m.id, m.request_id, m.client, m.metadata, m.correlation_id, m.traceparent, m.state,
              'mail.resolved' AS kind, $5::jsonb AS note
),
{_WRITE_HISTORY_AND_RETURN_ID}
"""

# $4 lifetime in seconds, $5 the note. Sends the same bytes and Message-ID again, because an operator decided so. It is
# a copy of its own, also for a gateway that deduplicates.
RESEND_IF_UNCERTAIN = f"""
WITH changed AS (
    UPDATE mails m SET state = 'queued', next_attempt_at = now(), resends = m.resends + 1,
        expires_at = greatest(m.expires_at, now() + make_interval(secs => $4))
    WHERE m.id = $1 AND ($2::text IS NULL OR m.client = $2) AND m.state = 'uncertain'
      AND m.to_email IS NOT NULL AND EXISTS (SELECT FROM contents WHERE mail_id = m.id)
    RETURNING m.id, m.request_id, m.client, m.metadata, m.correlation_id, m.traceparent, m.state, m.lane,
              'mail.resolved' AS kind, $5::jsonb AS note
), queued AS (
    INSERT INTO queue (mail_id, lane, due_at, attempt)
    SELECT id, lane, now(), coalesce((SELECT max(n) FROM attempts WHERE mail_id = id), 0) FROM changed
),
{_WRITE_HISTORY_AND_RETURN_ID}
"""

_GIVEN = """
given AS (
    SELECT * FROM json_to_recordset($2::json) AS g (
        id uuid, request_id text, fingerprint text, to_email text, to_key text, to_name text, template text,
        sent_at timestamptz, message_id text
    )
)"""

# $1 client, $2 the mails as a JSON array, $3 the actor.
# A known request ID stays as it is: the original record is better than a copy. A mail whose row was deleted here is
# written back under its old ID.
RESTORE_UNKNOWN = f"""
WITH {_GIVEN}, m AS (
    INSERT INTO mails (
        id, client, request_id, fingerprint, state, to_email, to_key, to_name, template, on_uncertain, lane,
        message_id, restored_message_id, accepted_at, sent_at, expires_at, restored
    )
    SELECT coalesce(l.mail_id, g.id), $1, g.request_id, decode(g.fingerprint, 'hex'), 'sent', g.to_email, g.to_key,
           g.to_name, g.template, 'hold', 'live', g.message_id, g.message_id,
           coalesce(l.accepted_at, least(g.sent_at, now())), g.sent_at, g.sent_at, true
    FROM given g LEFT JOIN lost_mails l ON l.request_id = g.request_id AND l.client = $1
    ORDER BY g.request_id
    ON CONFLICT (client, request_id) DO NOTHING
    RETURNING id, request_id, client
), history_written AS (
    INSERT INTO history (kind, subject, related, actor, detail)
    SELECT 'mail.restored', id::text, ARRAY[request_id, client], $3, '{{"state": "sent"}}' FROM m
)
SELECT request_id FROM m
"""

# Corrects known mails that are not recorded as sent, if content and address are the same: the client knows better.
# A mail that a worker is sending stays as it is. An expired lease is removed with the queue row, so that a slow worker
# can change nothing any more. The queue is locked before the ledger, as in every statement.
CORRECT_IF_NOT_SENT = f"""
WITH {_GIVEN}, known AS MATERIALIZED (
    SELECT m.id, m.state, g.sent_at, g.message_id
    FROM given g JOIN mails m ON m.client = $1 AND m.request_id = g.request_id
    WHERE m.state IN ('queued', 'deferred', 'sending', 'uncertain', 'failed', 'expired')
      AND m.fingerprint = decode(g.fingerprint, 'hex') AND (m.to_key = g.to_key) IS NOT FALSE
), gone AS (
    DELETE FROM queue q USING known k
    WHERE q.mail_id = k.id AND (q.lease IS NULL OR q.due_at <= now())
    RETURNING q.mail_id, q.attempt, q.lease
), ended AS (
    -- The row of a claimed mail may not be there yet. Written here, it keeps the slow worker from writing it.
    INSERT INTO attempts AS a (mail_id, n, lease, phase, outcome, ended_at)
    SELECT mail_id, attempt, lease, 'ended', 'gateway_fault', now() FROM gone WHERE lease IS NOT NULL
    ON CONFLICT (mail_id, n) DO UPDATE
        SET phase = 'ended', ended_at = now(), counted = a.phase = 'transmitting',
            outcome = CASE a.phase WHEN 'transmitting' THEN 'unknown' ELSE 'gateway_fault' END
        WHERE a.phase <> 'ended'
    RETURNING a.mail_id, a.counted
), changed AS (
    UPDATE mails m
    SET state = 'sent', sent_at = k.sent_at, restored_message_id = k.message_id, restored = true,
        next_attempt_at = NULL,
        attempts = m.attempts + coalesce(e.counted::int, 0), failure_reason = NULL, failure_code = NULL,
        failure_enhanced_code = NULL, failure_reply = NULL
    FROM known k LEFT JOIN gone g ON g.mail_id = k.id LEFT JOIN ended e ON e.mail_id = k.id
    -- A mail whose queue row we deleted is ours, whatever a worker has written since `known` was read.
    WHERE m.id = k.id
      AND (g.mail_id IS NOT NULL OR (m.state = k.state AND k.state IN ('uncertain', 'failed', 'expired')))
    RETURNING m.id, m.request_id, m.client, m.metadata, m.correlation_id, m.traceparent, m.state,
              'mail.restored' AS kind, jsonb_build_object('was', k.state) AS note
),
{_WRITE_HISTORY}
SELECT request_id FROM changed
"""

# A mail whose attempt is under way keeps its queue row. So does one with an attempt that ended `unknown`: the next
# claim closes it as `uncertain`. Both guards are consistent: a worker that claims or settles between this statement's
# snapshot and its lock has increased `attempt`, or held a lease in the snapshot.
_ERASE = """
WITH matched AS MATERIALIZED (
    SELECT m.id, q.attempt, EXISTS (SELECT FROM attempts a WHERE a.mail_id = m.id AND a.outcome = 'unknown') AS in_doubt
    FROM mails m LEFT JOIN queue q ON q.mail_id = m.id AND q.lease IS NULL
    -- `IS NOT FALSE`, true for a NULL $2, keeps the planner off the index of a client's mails: perhaps all mails.
    WHERE {matches} AND (m.client = $2::text) IS NOT FALSE AND m.to_key IS NOT NULL
), gone AS (
    DELETE FROM queue q USING matched w
    WHERE q.mail_id = w.id AND q.lease IS NULL AND q.attempt = w.attempt AND NOT w.in_doubt
    RETURNING q.mail_id
), changed AS (
    UPDATE mails m
    SET to_email = NULL, to_key = NULL, to_name = NULL, failure_reply = NULL,
        -- An operator's reason may name the person.
        failure_reason = CASE WHEN m.state = 'suppressed' THEN 'address suppressed' ELSE m.failure_reason END,
        metadata = (
            SELECT coalesce(jsonb_object_agg(e.key, e.value), '{{}}') FROM jsonb_each(m.metadata) e
            WHERE right(e.key, 3) = '_id'
        ),
        state = CASE WHEN g.mail_id IS NULL THEN m.state ELSE 'canceled' END,
        next_attempt_at = CASE WHEN g.mail_id IS NULL THEN m.next_attempt_at END
    FROM matched w LEFT JOIN gone g ON g.mail_id = w.id
    WHERE m.id = w.id AND m.to_key IS NOT NULL
    RETURNING m.id, m.request_id, m.client, m.metadata, m.correlation_id, m.traceparent, m.state,
              'mail.erased' AS kind, '{{}}'::jsonb AS note
), wiped AS (
    DELETE FROM contents WHERE mail_id = ANY(ARRAY(SELECT id FROM matched))
), {attachments}, replies_wiped AS (
    UPDATE attempts SET reply = NULL WHERE mail_id = ANY(ARRAY(SELECT id FROM matched)) AND reply IS NOT NULL
), diagnostics_wiped AS (
    UPDATE bounces SET diagnostic = NULL
    WHERE mail_id = ANY(ARRAY(SELECT id FROM matched)) AND diagnostic IS NOT NULL
), allowed AS (
    DELETE FROM suppressions
    WHERE mail_id = ANY(ARRAY(SELECT id FROM matched)) AND source IN ('smtp', 'bounce')
),
{history}
"""

_ERASE_PARTS = {
    "attachments": ATTACHMENTS_AND_BYTES_WIPED.format(mails="matched"),
    "history": _WRITE_HISTORY_AND_RETURN_ID,
}

# $1 the address key; $2 and $3 as above.
ERASE_BY_ADDRESS = _ERASE.format(matches="m.to_key = $1", **_ERASE_PARTS)
# $1 a JSON object: the mail's metadata must hold all of its pairs.
ERASE_BY_METADATA = _ERASE.format(matches="m.metadata @> $1::jsonb", **_ERASE_PARTS)
