"""The SQL of the deliveries to webhook subscribers: outbox rows of the effect `webhook`, and settled ones.

Every statement begins at the index of a subscriber and an event.
"""

from shared.webhooks.delivery_log import LogQueries

_WAITING = r"""
SELECT payload ->> 'subscriber_id' AS subscriber_id, payload ->> 'event' AS event, id, user_id AS subject_id,
       CASE state WHEN 'dead' THEN 'dead' ELSE 'pending' END AS state, attempts,
       substring(last_error FROM 'answered (\d{3})$')::int AS last_status, last_error, created_at,
       NULL::timestamptz AS delivered_at, due_at
FROM outbox WHERE effect = 'webhook'
"""

_SETTLED = """
SELECT payload ->> 'subscriber_id' AS subscriber_id, payload ->> 'event' AS event, id, user_id AS subject_id,
       outcome AS state, attempts, (result ->> 'status')::int AS last_status,
       CASE outcome WHEN 'canceled' THEN coalesce(result ->> 'reason', 'Canceled by an operator') END AS last_error,
       created_at, CASE outcome WHEN 'delivered' THEN settled_at END AS delivered_at, NULL::timestamptz AS due_at,
       settled_at
FROM outbox_settled WHERE effect = 'webhook'
"""

LOG = LogQueries.over(_WAITING, _SETTLED)

# $1 the subscriber, $2 events, $3 and $4 the IDs (after, below), $5 and $6 the times, $7 how many at most, $8 seconds
# until it is given up. Each statement is one commit, and says how many it read, the last ID, and how many wait anew.
_ARGUMENTS = """
payload ->> 'subscriber_id' = $1 AND payload ->> 'event' = wanted.event AND effect = 'webhook'
AND id > $3 AND id < $4 AND created_at >= $5 AND ($6::timestamptz IS NULL OR created_at < $6)
"""
_COUNTED = "SELECT count(*) AS seen, (SELECT id FROM wanted ORDER BY id DESC LIMIT 1) AS last"
# So that they are claimed in the order of their events.
_DUE_IN_ORDER = "now() + row_number() OVER (ORDER BY id) * interval '1 microsecond'"

REVIVE_DEAD = f"""
WITH wanted AS MATERIALIZED (
    SELECT found.id FROM unnest($2::text[]) AS wanted (event) CROSS JOIN LATERAL (
        SELECT id FROM outbox WHERE {_ARGUMENTS} AND state = 'dead' ORDER BY id LIMIT $7 FOR UPDATE
    ) AS found
    ORDER BY found.id LIMIT $7
), placed AS (
    SELECT id, {_DUE_IN_ORDER} AS due_at FROM wanted
), again AS (
    UPDATE outbox SET
        state = 'pending', due_at = placed.due_at, dead_at = NULL, expires_at = now() + make_interval(secs => $8)
    FROM placed WHERE outbox.id = placed.id AND outbox.state = 'dead'
    RETURNING outbox.id
)
{_COUNTED}, (SELECT count(*) FROM again) AS replayed FROM wanted
"""

# A settled row stays, and its copy in the outbox has its ID, its payload and its time: the same bytes are sent again.
# One that waits already is left alone.
REPLAY_SETTLED = f"""
WITH wanted AS MATERIALIZED (
    SELECT found.* FROM unnest($2::text[]) AS wanted (event) CROSS JOIN LATERAL (
        SELECT DISTINCT ON (id) id, user_id, payload, created_at, correlation_id, traceparent
        FROM outbox_settled WHERE {_ARGUMENTS} ORDER BY id LIMIT $7
    ) AS found
    ORDER BY found.id LIMIT $7
), again AS (
    INSERT INTO outbox (id, effect, user_id, payload, due_at, created_at, expires_at, correlation_id, traceparent)
    SELECT id, 'webhook', user_id, payload, {_DUE_IN_ORDER}, created_at, now() + make_interval(secs => $8),
           correlation_id, traceparent
    FROM wanted
    ON CONFLICT (id) DO NOTHING
    RETURNING id
)
{_COUNTED}, (SELECT count(*) FROM again) AS replayed FROM wanted
"""
