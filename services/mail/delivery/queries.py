"""The SQL of delivery. Each statement is one transaction and one round trip; names carry their guards.

`= ANY(ARRAY(SELECT …))` replaces a join on purpose, or stands beside it: it keeps the planner on the primary key
whatever batch size it estimates and however empty the last vacuum saw the queue, so that no statement scans either.
"""

from ..webhooks.queries import HAS_SUBSCRIBERS
from .deduplication_queries import ASKING_IS_OVER, KEY_USES, NOT_ANSWERED_IN_TIME

# `unknown` is counted, so mails with no counted attempt need no lookup. LIMIT keeps the planner from hashing attempts.
_IN_DOUBT = """
m.attempts > 0 AND coalesce(
    (SELECT true FROM attempts e WHERE e.mail_id = m.id AND e.outcome = 'unknown' LIMIT 1), false
)
"""

# The state that a claim gives to a mail. In doubt means that an earlier attempt ended `unknown`: such a mail may have
# been sent, so it is neither failed nor expired (P5). While its gateway can be asked again (ADR 0033), it waits for
# that one. Then it is uncertain, or with the policy `resend` a copy is sent (`as_copy`).
_NEXT_STATE = f"""
    CASE
        WHEN w.in_doubt AND (s.email_key IS NOT NULL OR m.expires_at <= now() OR m.to_email IS NULL) THEN 'uncertain'
        WHEN m.on_uncertain = 'hold' AND {ASKING_IS_OVER} THEN 'uncertain'
        WHEN m.to_email IS NULL THEN 'canceled'
        WHEN s.email_key IS NOT NULL THEN 'suppressed'
        WHEN m.expires_at <= now() AND m.attempts > 0 THEN 'failed'
        WHEN m.expires_at <= now() THEN 'expired'
        ELSE 'sending'
    END
"""

_PICKED = f"""
picked AS MATERIALIZED (
    SELECT m.id, m.client, m.request_id, m.lane, m.to_email, m.to_name, m.attempts, m.on_uncertain, m.message_id,
           m.accepted_at, m.expires_at, m.metadata, m.correlation_id, m.traceparent, m.resends,
           w.in_doubt, w.key_uses, {ASKING_IS_OVER} AS as_copy,
           {_NEXT_STATE} AS next_state,
           CASE
               WHEN m.to_email IS NULL THEN 'erased'
               WHEN s.email_key IS NOT NULL THEN 'address suppressed'
               WHEN m.expires_at <= now() THEN 'expired'
               ELSE 'no answer while the gateway could be asked again'
           END AS close_reason,
           s.reason AS suppression_reason
    FROM mails m
    LEFT JOIN suppressions s ON s.email_key = m.to_key AND (s.ends_at IS NULL OR s.ends_at > now())
    CROSS JOIN LATERAL (
        SELECT {_IN_DOUBT} AS in_doubt, {KEY_USES.format(condition="m.gateway IS NOT NULL")} AS key_uses OFFSET 0
    ) w
    -- A stray row of a settled mail must not break the claim; a sanity check removes it.
    WHERE m.id = ANY(ARRAY(SELECT mail_id FROM due)) AND m.state IN ('queued', 'deferred')
)
"""

_RELATED = """
ARRAY[m.request_id, m.client]
    || ARRAY(SELECT e.value FROM jsonb_each_text(m.metadata) e WHERE right(e.key, 3) = '_id' AND e.value IS NOT NULL)
"""

# Mails that must not be sent leave the queue, with a history entry.
_CLOSED = f"""
dequeued AS (
    DELETE FROM queue WHERE mail_id = ANY(ARRAY(SELECT id FROM picked WHERE next_state <> 'sending'))
),
closed AS (
    UPDATE mails m
    SET state = p.next_state, next_attempt_at = NULL,
        failure_reason = CASE p.next_state
            WHEN 'suppressed' THEN p.suppression_reason
            WHEN 'failed' THEN concat_ws('; ', m.failure_reason, p.close_reason)
            WHEN 'uncertain' THEN concat_ws('; ', m.failure_reason, p.close_reason)
            ELSE m.failure_reason
        END
    FROM picked p WHERE m.id = p.id AND p.next_state <> 'sending'
),
logged AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT 'mail.' || m.next_state, m.id::text, {_RELATED}, 'mail-worker', m.correlation_id, m.traceparent,
           jsonb_build_object('state', m.next_state, 'reason', m.close_reason)
    FROM picked m WHERE m.next_state <> 'sending'
)
"""

# $1 limit, $2 how many of them are reserved for the bulk lane when it has due rows, $3 lease seconds, $4 and $5 the
# earliest `due_at` to look at in the live and in the bulk lane (ADR 0026).
# The attempt gets its number here and its row when it goes to a gateway: a mail that was never offered leaves none.
# A due row that has a lease is abandoned: only the rescue may claim it.
# Answers with what it found in each lane in any case.
CLAIM_DUE = f"""
WITH live AS (
    SELECT mail_id, due_at FROM queue
    WHERE lane = 'live' AND due_at >= $4 AND due_at <= now() AND lease IS NULL
    ORDER BY due_at
    LIMIT $1::int - (
        SELECT count(*) FROM (
            SELECT FROM queue
            WHERE lane = 'bulk' AND due_at >= $5 AND due_at <= now() AND lease IS NULL LIMIT $2::int
        ) waiting
    )
    FOR UPDATE SKIP LOCKED
),
bulk AS (
    SELECT mail_id, due_at FROM queue
    WHERE lane = 'bulk' AND due_at >= $5 AND due_at <= now() AND lease IS NULL
    ORDER BY due_at
    LIMIT $1::int - (SELECT count(*) FROM live)
    FOR UPDATE SKIP LOCKED
),
due AS (SELECT mail_id FROM live UNION ALL SELECT mail_id FROM bulk),
{_PICKED},
leased AS (
    UPDATE queue SET due_at = now() + make_interval(secs => $3::float8), lease = gen_random_uuid(),
        attempt = attempt + 1
    WHERE mail_id = ANY(ARRAY(SELECT id FROM picked WHERE next_state = 'sending'))
    RETURNING mail_id, lease, attempt
),
now_sending AS (
    UPDATE mails
    SET state = 'sending', resends = resends + (id = ANY(ARRAY(SELECT id FROM picked WHERE as_copy)))::int
    WHERE id = ANY(ARRAY(SELECT mail_id FROM leased))
),
{_CLOSED}
SELECT p.id, p.next_state, l.lease, l.attempt, p.attempts, p.on_uncertain, p.in_doubt, p.expires_at, now() AS now,
       p.message_id, p.accepted_at, p.to_email, p.to_name, c.sender_email, c.sender_name, c.reply_to_email,
       c.reply_to_name, c.subject, c.text, c.html, c.headers, p.traceparent, p.lane,
       p.resends + p.as_copy::int AS resends, CASE WHEN NOT p.as_copy THEN p.key_uses END AS key_uses,
       (SELECT sum(size) FROM attachments WHERE mail_id = l.mail_id) AS attached_bytes, looked.*
FROM (
    SELECT (SELECT count(*) FROM live) AS live_found, (SELECT max(due_at) FROM live) AS live_due_at,
           (SELECT count(*) FROM bulk) AS bulk_found, (SELECT max(due_at) FROM bulk) AS bulk_due_at
) AS looked
LEFT JOIN picked p ON true
LEFT JOIN leased l ON l.mail_id = p.id
LEFT JOIN LATERAL (SELECT * FROM contents WHERE mail_id = p.id AND p.next_state = 'sending' OFFSET 0) c ON true
ORDER BY p.lane DESC, p.id
"""

READ_ATTACHMENTS = """
SELECT a.filename, a.content_type, a.content_id, b.bytes FROM attachments a JOIN attachment_blobs b USING (sha256)
WHERE a.mail_id = $1 ORDER BY a.n
"""

# Nothing is claimed while every breaker is open, so neither expiry nor the end of asking can wait for a claim.
# $1 the limit in each lane, $2 and $3 where the window of the live and of the bulk lane begins, $4 and $5 how many rows
# that are due at this very time lie before it, $6 the rows of a window. One row for each lane in which a mail waits.
# The order of the index alone, so that nothing is sorted: many mails may be due at one time (`send_at` of a campaign).
FIND_EXPIRED = f"""
WITH looked AS MATERIALIZED (
    SELECT lane.name AS lane, waiting.mail_id, waiting.due_at
    FROM (VALUES ('live', $2::timestamptz, $4::bigint), ('bulk', $3::timestamptz, $5::bigint))
        AS lane (name, due_from, skip)
    CROSS JOIN LATERAL (
        SELECT q.mail_id, q.due_at FROM queue q
        WHERE q.lane = lane.name AND q.due_at >= lane.due_from AND q.due_at <= now() AND q.lease IS NULL
        ORDER BY q.due_at OFFSET lane.skip LIMIT $6::bigint
    ) AS waiting
)
SELECT w.lane, w.looked_at, w.last_due_at,
       (SELECT count(*) FROM looked l WHERE l.lane = w.lane AND l.due_at = w.last_due_at) AS due_last,
       ARRAY(
           SELECT l.mail_id FROM looked l
           -- LIMIT keeps the planner from hashing mails.
           CROSS JOIN LATERAL (
               SELECT FROM mails m
               WHERE m.id = l.mail_id AND (m.expires_at <= now() OR {NOT_ANSWERED_IN_TIME}) LIMIT 1
           ) AS over
           WHERE l.lane = w.lane LIMIT $1
       ) AS expired
FROM (SELECT lane, count(*) AS looked_at, max(due_at) AS last_due_at FROM looked GROUP BY lane) AS w
"""

# The difference of times is no index condition, which keeps the planner on the primary key.
CLOSE_IF_EXPIRED = f"""
WITH due AS (
    SELECT mail_id FROM queue WHERE mail_id = ANY($1::uuid[]) AND now() - due_at >= interval '0' AND lease IS NULL
    FOR UPDATE SKIP LOCKED
),
{_PICKED},
{_CLOSED}
SELECT id, next_state FROM picked WHERE next_state <> 'sending'
"""

# The fence is the attempt's primary key: a worker that takes a mail over writes the row of the attempt, too, and the
# second of the two writes finds the first, whatever its snapshot. The queue's lease is looked at for those long ago.
TRANSMIT_IF_LEASED = """
INSERT INTO attempts (
    mail_id, n, lease, gateway, phase, claimed_at, transmitting_at, idempotency_header, ask_until
)
SELECT r.mail_id, r.n, r.lease, r.gateway, 'transmitting', coalesce(r.claimed_at, now()), now(), r.idempotency_header,
       r.ask_until
FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::timestamptz[], $6::text[], $7::timestamptz[])
    AS r(mail_id, n, lease, gateway, claimed_at, idempotency_header, ask_until)
WHERE (SELECT q.lease FROM queue q WHERE q.mail_id = r.mail_id LIMIT 1) = r.lease
ON CONFLICT (mail_id, n) DO NOTHING
RETURNING lease
"""

RENEW_IF_LEASED = """
UPDATE queue q SET due_at = now() + make_interval(secs => $3::float8)
FROM unnest($1::uuid[], $2::uuid[]) AS r(mail_id, lease)
WHERE q.mail_id = r.mail_id AND q.mail_id = ANY($1::uuid[]) AND q.lease = r.lease
RETURNING q.lease
"""

# For mails that were never offered to a gateway, and the number of the attempt is free again. $3 seconds until they are
# due: 0 keeps their place; others wait for the only gateway that may have them.
GIVE_BACK_IF_LEASED = """
WITH given_back AS (
    UPDATE queue q SET lease = NULL, due_at = now() + make_interval(secs => r.due_in), attempt = q.attempt - 1
    FROM unnest($1::uuid[], $2::uuid[], $3::float8[]) AS r(mail_id, lease, due_in)
    WHERE q.mail_id = r.mail_id AND q.mail_id = ANY($1::uuid[]) AND q.lease = r.lease
    RETURNING q.mail_id, r.lease, q.due_at
),
waiting AS (
    UPDATE mails m
    SET state = CASE WHEN m.attempts > 0 AND m.failure_reason IS NOT NULL THEN 'deferred' ELSE 'queued' END,
        next_attempt_at = g.due_at
    FROM given_back g WHERE m.id = g.mail_id
)
SELECT lease FROM given_back
"""

# Returns the leases that were held, and those that this same write had settled before its answer was lost.
# $15 days until a suppression ends (0: never).
SETTLE_IF_LEASED = f"""
WITH r AS MATERIALIZED (
    SELECT * FROM unnest(
        $1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::bool[], $7::int[], $8::text[], $9::text[],
        $10::text[], $11::text[], $12::text[], $13::float8[], $14::bool[], $16::timestamptz[], $17::text[]
    ) AS r(mail_id, n, lease, gateway, outcome, counted, code, enhanced_code, reply, state, kind, reason, due_in,
           suppresses, claimed_at, idempotency_header)
),
left_queue AS (
    DELETE FROM queue q USING r
    WHERE q.mail_id = r.mail_id AND q.mail_id = ANY($1::uuid[]) AND q.lease = r.lease AND r.due_in IS NULL
    RETURNING r.lease
),
stayed AS (
    UPDATE queue q SET lease = NULL, due_at = now() + make_interval(secs => r.due_in) FROM r
    WHERE q.mail_id = r.mail_id AND q.mail_id = ANY($1::uuid[]) AND q.lease = r.lease AND r.due_in IS NOT NULL
    RETURNING r.lease
),
held AS MATERIALIZED (
    SELECT r.* FROM r WHERE r.lease IN (SELECT lease FROM left_queue UNION ALL SELECT lease FROM stayed)
),
moved AS (
    UPDATE mails m
    SET state = h.state, attempts = m.attempts + h.counted::int, gateway = coalesce(h.gateway, m.gateway),
        sent_at = CASE WHEN h.state = 'sent' THEN now() END,
        next_attempt_at = now() + make_interval(secs => h.due_in),
        failure_reason = CASE WHEN h.state <> 'sent' THEN h.reason END,
        failure_code = CASE WHEN h.state <> 'sent' THEN h.code END,
        failure_enhanced_code = CASE WHEN h.state <> 'sent' THEN h.enhanced_code END,
        failure_reply = CASE WHEN h.state <> 'sent' AND m.to_email IS NOT NULL THEN h.reply END
    FROM held h WHERE m.id = h.mail_id
    RETURNING m.id, m.client, m.request_id, m.metadata, m.to_email, m.to_key, m.correlation_id, m.traceparent,
              m.state, h.n, h.gateway, h.code, h.enhanced_code, h.reason, h.kind, h.suppresses,
              h.lease, h.outcome, h.counted, h.reply, h.claimed_at, h.idempotency_header
),
-- The row is there when the body began to leave, or when the mail was taken over; else the attempt ended before, or
-- another transaction has just written the row. A reply is personal data: none is stored for a mail that was erased
-- while it was being sent.
on_record AS (
    UPDATE attempts a
    SET phase = 'ended', ended_at = now(), outcome = h.outcome, counted = h.counted, code = h.code,
        enhanced_code = h.enhanced_code, reply = CASE WHEN h.to_email IS NOT NULL THEN h.reply END,
        gateway = coalesce(h.gateway, a.gateway)
    FROM moved h WHERE a.mail_id = h.id AND a.n = h.n AND a.lease = h.lease
    RETURNING a.lease
),
ended AS (
    INSERT INTO attempts AS a (
        mail_id, n, lease, gateway, phase, outcome, counted, claimed_at, transmitting_at, ended_at, code, enhanced_code,
        reply
    )
    SELECT h.id, h.n, h.lease, h.gateway, 'ended', h.outcome, h.counted, coalesce(h.claimed_at, now()),
           -- CHECKs are asked about this row even when the other one is there.
           CASE WHEN h.outcome = 'accepted' THEN now() END,
           now(), h.code, h.enhanced_code, CASE WHEN h.to_email IS NOT NULL THEN h.reply END
    FROM moved h WHERE h.lease NOT IN (SELECT lease FROM on_record)
    ON CONFLICT (mail_id, n) DO UPDATE
        SET phase = 'ended', ended_at = excluded.ended_at, outcome = excluded.outcome, counted = excluded.counted,
            code = excluded.code, enhanced_code = excluded.enhanced_code, reply = excluded.reply,
            gateway = coalesce(excluded.gateway, a.gateway)
        WHERE a.lease = excluded.lease
),
logged AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT m.kind, m.id::text, {_RELATED}, 'mail-worker', m.correlation_id, m.traceparent,
           jsonb_build_object('state', m.state, 'attempt', m.n, 'gateway', m.gateway, 'code', m.code,
                              'enhanced_code', m.enhanced_code, 'reason', m.reason)
               || CASE WHEN m.idempotency_header IS NULL THEN '{{}}'
                       ELSE jsonb_build_object('idempotency_header', m.idempotency_header) END
    FROM moved m
),
suppressed AS (
    INSERT INTO suppressions AS s (email_key, email, reason, source, mail_id, ends_at)
    SELECT DISTINCT ON (m.to_key) m.to_key, m.to_email, m.reason, 'smtp', m.id,
           CASE WHEN $15::int > 0 THEN now() + make_interval(days => $15::int) END
    FROM moved m WHERE m.suppresses AND m.to_key IS NOT NULL
    ORDER BY m.to_key
    ON CONFLICT (email_key) DO UPDATE
        SET reason = excluded.reason, source = excluded.source, mail_id = excluded.mail_id, created_at = now(),
            ends_at = excluded.ends_at
        WHERE s.ends_at <= now()
)
SELECT lease FROM held
UNION ALL
SELECT r.lease FROM r
WHERE r.lease NOT IN (SELECT lease FROM held) AND (
    SELECT true FROM attempts a
    WHERE a.mail_id = r.mail_id AND a.n = r.n AND a.lease = r.lease AND a.phase = 'ended' AND a.outcome = r.outcome
    LIMIT 1
)
"""

# $1 limit, $2 the earliest `due_at` to look at. Answers with the time of the look in any case, and with what another
# loop would have to look for: whether there are webhook subscribers (ADR 0034).
FIND_OVERDUE = f"""
SELECT now() AS looked_at, {HAS_SUBSCRIBERS} AS has_subscribers, overdue.* FROM (SELECT) AS always LEFT JOIN (
    SELECT mail_id, lease, due_at FROM queue
    WHERE lane IN ('live', 'bulk') AND due_at >= $2 AND due_at <= now() AND lease IS NOT NULL
    ORDER BY due_at LIMIT $1
) AS overdue ON true
"""

# The rescue puts its own lease on queue and attempt at once, then settles like any worker. From that commit on the
# silent worker is fenced out, and a rescuer that dies leaves a row that is overdue again.
# The phase comes from the locked row: another transaction may be committing `transmitting`. A mail that its worker had
# not offered yet gets a row that says when that worker last held it.
TAKE_OVER_IF_OVERDUE = f"""
WITH overdue AS (
    SELECT q.mail_id, q.attempt, least(now(), q.due_at - make_interval(secs => $3::float8)) AS last_held_at
    FROM queue q JOIN unnest($1::uuid[], $2::uuid[]) AS r(mail_id, lease)
        ON q.mail_id = r.mail_id AND q.lease = r.lease
    WHERE q.due_at <= now()
    FOR UPDATE OF q SKIP LOCKED
),
taken AS (
    UPDATE queue q SET lease = gen_random_uuid(), due_at = now() + make_interval(secs => $3::float8)
    FROM overdue o WHERE q.mail_id = o.mail_id
    RETURNING q.mail_id, q.lease, q.attempt, o.last_held_at
),
attempt AS (
    INSERT INTO attempts AS a (mail_id, n, lease, claimed_at)
    SELECT mail_id, attempt, lease, last_held_at FROM taken
    ON CONFLICT (mail_id, n) DO UPDATE SET lease = excluded.lease
    RETURNING a.mail_id, a.phase, a.gateway, extract(epoch FROM now() - a.claimed_at)::float8 AS seconds,
              a.idempotency_header, a.ask_until
)
SELECT t.mail_id, t.lease, t.attempt, a.phase, a.gateway, m.attempts, m.on_uncertain, m.expires_at, now() AS now,
       {_IN_DOUBT} AS in_doubt, m.traceparent, a.seconds, a.idempotency_header,
       a.ask_until, {KEY_USES.format(condition="true")} AS key_uses
FROM taken t JOIN mails m ON m.id = t.mail_id LEFT JOIN attempt a ON a.mail_id = t.mail_id
"""
