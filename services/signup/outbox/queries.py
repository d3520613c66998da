"""The SQL of the outbox. Every statement after the claim is fenced: it changes no row that another lease holds."""

# For every effect that has room: $1 effects, $2 how many rows, $3 the earliest `due_at` to look at, $4 lease seconds;
# $5 is the lease. Finds waiting rows and rows of lost workers in one scan: a claim moves `due_at` to its end.
# Answers with the time of the claim in any case.
# `= ANY` here and below, beside a join or instead of it: where the last vacuum saw the outbox empty, a join alone reads
# all of it for each batch.
CLAIM_DUE = """
WITH asked AS (
    SELECT * FROM unnest($1::text[], $2::int[], $3::timestamptz[]) AS asked (effect, room, due_from)
), due AS MATERIALIZED (
    SELECT waiting.id
    FROM asked CROSS JOIN LATERAL (
        SELECT id FROM outbox
        WHERE outbox.effect = asked.effect AND outbox.due_at >= asked.due_from AND outbox.due_at <= now()
        ORDER BY outbox.due_at LIMIT asked.room FOR UPDATE SKIP LOCKED
    ) AS waiting
), claimed AS (
    UPDATE outbox SET
        state = 'leased', lease = $5,
        due_at = now() + make_interval(secs => ($4::float8[])[array_position($1::text[], effect)])
    WHERE id = ANY(ARRAY(SELECT id FROM due))
    RETURNING
        new.id, new.effect, new.user_id, new.payload, new.attempts, new.created_at, new.expires_at,
        new.correlation_id, new.traceparent, old.due_at AS was_due_at
)
SELECT claimed.*, now() AS claimed_at FROM (SELECT) AS always LEFT JOIN claimed ON true
"""

_DELIVER = """
WITH gone AS (
    DELETE FROM outbox WHERE id = ANY ($2::uuid[]) AND lease = $1
    RETURNING outbox.*, ($3::jsonb[])[array_position($2::uuid[], id)] AS result
), kept AS (
    INSERT INTO outbox_settled
        (id, effect, user_id, payload, outcome, result, attempts, created_at, correlation_id, traceparent)
    SELECT id, effect, user_id, payload, 'delivered', result, attempts + 1, created_at, correlation_id, traceparent
    FROM gone
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        'outbox.delivered', id::text, array_remove(ARRAY[user_id::text, result ->> 'mail_id'], NULL),
        'signup-worker', correlation_id, traceparent,
        jsonb_build_object('effect', effect, 'attempts', attempts + 1)
    FROM gone
)"""
SETTLE_DELIVERED_IF_LEASED = f"{_DELIVER} SELECT count(*) FROM gone"

# A row that was settled before and put back was counted then: `outbox_settled` has it. Days are written in one order,
# so that two such statements never deadlock.
SETTLE_COUNTED_IF_LEASED = f"""{_DELIVER}, counted AS (
    INSERT INTO signup_statistics AS s (day, kind, count)
    SELECT (created_at AT TIME ZONE 'UTC')::date, kind, count(*)
    FROM gone JOIN (VALUES
        ('user.signed_up', 'signups'), ('user.imported', 'signups'), ('user.verified', 'verifications')
    ) AS named (event, kind) ON named.event = payload ->> 'event'
    WHERE NOT EXISTS (SELECT FROM outbox_settled AS before WHERE before.id = gone.id AND before.outcome = 'delivered')
    GROUP BY 1, 2 ORDER BY 1, 2
    ON CONFLICT (day, kind) DO UPDATE SET count = s.count + excluded.count
)
SELECT count(*) FROM gone
"""

SETTLE_CANCELED_IF_LEASED = """
WITH verdict AS (
    SELECT * FROM unnest($2::uuid[], $3::text[]) AS verdict (id, reason)
), gone AS (
    DELETE FROM outbox USING verdict
    WHERE outbox.id = verdict.id AND outbox.id = ANY ($2::uuid[]) AND outbox.lease = $1
    RETURNING outbox.*, verdict.reason
), kept AS (
    INSERT INTO outbox_settled
        (id, effect, user_id, payload, outcome, result, attempts, created_at, correlation_id, traceparent)
    SELECT
        id, effect, user_id, payload, 'canceled', jsonb_build_object('reason', reason), attempts, created_at,
        correlation_id, traceparent
    FROM gone
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        'outbox.canceled', id::text, array_remove(ARRAY[user_id::text], NULL), 'signup-worker', correlation_id,
        traceparent, jsonb_build_object('effect', effect, 'reason', reason)
    FROM gone
)
SELECT count(*) FROM gone
"""

SETTLE_RETRY_IF_LEASED = """
WITH verdict AS (
    SELECT * FROM unnest($2::uuid[], $3::float8[], $4::text[], $5::int[])
        AS verdict (id, delay_seconds, error, counted)
), again AS (
    UPDATE outbox SET
        state = 'pending', lease = NULL, attempts = attempts + verdict.counted, last_error = verdict.error,
        due_at = now() + make_interval(secs => verdict.delay_seconds)
    FROM verdict WHERE outbox.id = verdict.id AND outbox.id = ANY ($2::uuid[]) AND outbox.lease = $1
    RETURNING outbox.id
)
SELECT count(*) FROM again
"""

SETTLE_DEAD_IF_LEASED = """
WITH verdict AS (
    SELECT * FROM unnest($2::uuid[], $3::text[]) AS verdict (id, error)
), buried AS (
    UPDATE outbox SET
        state = 'dead', lease = NULL, attempts = attempts + 1, last_error = verdict.error,
        due_at = NULL, dead_at = now()
    FROM verdict WHERE outbox.id = verdict.id AND outbox.id = ANY ($2::uuid[]) AND outbox.lease = $1
    RETURNING outbox.id, user_id, effect, attempts, correlation_id, traceparent
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        'outbox.dead', id::text, array_remove(ARRAY[user_id::text], NULL), 'signup-worker', correlation_id, traceparent,
        jsonb_build_object('effect', effect, 'attempts', attempts)
    FROM buried
)
SELECT count(*) FROM buried
"""

# No verdict: the attempt does not count, and the row is due at once. The breaker decides when it is claimed.
RELEASE_IF_LEASED = """
WITH released AS (
    UPDATE outbox SET state = 'pending', lease = NULL, due_at = now(), last_error = $3
    WHERE id = ANY ($2::uuid[]) AND lease = $1
    RETURNING id
)
SELECT count(*) FROM released
"""

# Where a reader of the outbox begins, for `effect.effect`: the worker has claimed all that was due before (ADR 0026),
# so the rows that died there are not read again.
CLAIMED_UNTIL = """
coalesce((
    SELECT (detail -> 'effects' -> effect.effect ->> 'claimed_until')::timestamptz
    FROM heartbeats WHERE process = 'signup-worker'
), '-infinity')
"""

# Since when a due row of the outbox waits. An outage hands a row back as due anew, so what counts is when it was first
# due: when it was written, or when the hour's budget let its mail go (ADR 0028). A webhook waits since it is due: a
# replayed one is as old as its event, and the outage of one subscriber is a warning, `webhooks_dead`.
WAITS_SINCE = """
CASE effect WHEN 'webhook' THEN due_at
ELSE least(due_at, greatest(created_at, (payload ->> 'waits_until')::timestamptz)) END
"""
# A verdict that says "later" is no outage: its row waits since the time that it set.
OVERDUE_SINCE = f"CASE WHEN attempts = 0 THEN {WAITS_SINCE} ELSE due_at END"

# The row that waits longest, of each of the effects $1, among the thousand that are due first. Counts stop at 10,000.
OUTBOX_HEALTH = f"""
SELECT
    (SELECT extract(epoch FROM now() - min(first.since))::float8
     FROM unnest($1::text[]) AS effect
     CROSS JOIN LATERAL (
         SELECT {WAITS_SINCE} AS since FROM outbox
         WHERE outbox.effect = effect.effect AND due_at >= {CLAIMED_UNTIL} AND due_at <= now()
         ORDER BY due_at LIMIT 1000
     ) AS first) AS oldest_due_seconds,
    (SELECT count(*) FROM (SELECT FROM outbox WHERE state = 'dead' LIMIT 10000) AS dead) AS dead_rows
"""

# --- operators: by ID or in bulk, never a row whose effect is being performed

FIND_ROW = """
SELECT id, effect, user_id, attempts, created_at, correlation_id, state, last_error, due_at, expires_at, dead_at,
       NULL::timestamptz AS settled_at, NULL::jsonb AS result
FROM outbox WHERE id = $1
UNION ALL
SELECT id, effect, user_id, attempts, created_at, correlation_id, outcome, NULL, NULL, NULL, NULL, settled_at, result
FROM outbox_settled WHERE id = $1
LIMIT 1
"""

# A mail of a paused import is held, as its others are, until the import is resumed.
_RETRIED = """
    UPDATE outbox SET
        state = 'pending', dead_at = NULL,
        due_at = CASE WHEN EXISTS (SELECT FROM imports i WHERE i.id = outbox.import_id AND i.state = 'paused')
                      THEN 'infinity' ELSE now() END,
        expires_at = CASE WHEN outbox.state = 'dead' THEN greatest(expires_at, now() + make_interval(secs => {give_up}))
                     ELSE expires_at END
    FROM wanted WHERE outbox.id = wanted.id
    RETURNING outbox.id, user_id, effect, correlation_id, traceparent, wanted.state AS was
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT 'outbox.retried', id::text, array_remove(ARRAY[user_id::text], NULL), {actor}, correlation_id, traceparent,
           jsonb_build_object('effect', effect, 'was', was)
    FROM again
)"""

RETRY_IF_DEAD_OR_PENDING = f"""
WITH wanted AS (
    SELECT id, state FROM outbox WHERE id = $1 AND state IN ('dead', 'pending') FOR UPDATE
), again AS ({_RETRIED.format(give_up="$2", actor="$3")}
SELECT id FROM again
"""

CANCEL_IF_DEAD_OR_PENDING = """
WITH gone AS (
    DELETE FROM outbox WHERE id = $1 AND state IN ('dead', 'pending') RETURNING *
), kept AS (
    INSERT INTO outbox_settled
        (id, effect, user_id, payload, outcome, result, attempts, created_at, correlation_id, traceparent)
    SELECT id, effect, user_id, payload, 'canceled', jsonb_build_object('was', state), attempts,
        least(created_at, now()), correlation_id, traceparent
    FROM gone
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT 'outbox.canceled', id::text, array_remove(ARRAY[user_id::text], NULL), $2, correlation_id, traceparent,
           jsonb_build_object('effect', effect, 'was', state)
    FROM gone
)
SELECT id FROM gone
"""

# Skips pending rows that are due already, so that a loop over batches ends, and pending rows that were never refused or
# are held: those wait on purpose, because an import paces its mails, or is paused.
REDRIVE_MATCHING = f"""
WITH wanted AS (
    SELECT id, state FROM outbox
    WHERE state = $1 AND (cardinality($2::text[]) = 0 OR effect = ANY ($2::text[]))
      AND ($3::text IS NULL OR last_error ILIKE '%' || $3 || '%')
      AND (state = 'dead' OR (due_at > now() AND due_at < 'infinity' AND last_error IS NOT NULL))
    ORDER BY id LIMIT $4 FOR UPDATE SKIP LOCKED
), again AS ({_RETRIED.format(give_up="$5", actor="$6")}
SELECT count(*) FROM again
"""
