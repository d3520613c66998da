"""The SQL of the delivery log and of replays."""

from shared.webhooks.delivery_log import LogQueries

from .queries import EVENT_OF

LOG = LogQueries.over(
    """
    SELECT subscriber_id, event, id, mail_id AS subject_id, 'pending'::text AS state, attempts, last_status, last_error,
           occurred_at AS created_at, NULL::timestamptz AS delivered_at, due_at
    FROM webhook_deliveries
    """,
    """
    SELECT subscriber_id, event, id, mail_id AS subject_id, outcome AS state, attempts, last_status, last_error,
           occurred_at AS created_at, CASE outcome WHEN 'delivered' THEN settled_at END AS delivered_at,
           NULL::timestamptz AS due_at, settled_at
    FROM webhook_deliveries_settled
    """,
)

# A replay ends when its subscriber is disabled.
DELETE_VOID_REPLAYS = """
DELETE FROM webhook_feeds f USING webhook_subscribers s
WHERE s.id = f.subscriber_id AND s.id = $1 AND f.replay AND f.created_at < s.enabled_at
"""

# Where the entries of a span are in the feed. One of a transaction that took longer than the margin of $5 and $6 would
# be missed. Without an end: what the subscriber's own feed has read. {0} is that feed.
_FIRST = "(SELECT position FROM history WHERE history.id >= $5 ORDER BY history.id LIMIT 1)"
_PAST = "(SELECT position FROM history WHERE history.id >= $6 ORDER BY history.id LIMIT 1)"

# $1 the subscriber, $2 and $3 the times (NULL: no end), $4 events, $5 and $6 the IDs (from, below), $7 how many replays
# may be under way. The same one again, while it is, is the same: returns true, like a new one.
ADD_REPLAY = f"""
WITH known AS (
    SELECT FROM webhook_feeds WHERE subscriber_id = $1 AND replay AND since = $2 AND until IS NOT DISTINCT FROM $3
      AND events = $4
), added AS (
    INSERT INTO webhook_feeds (subscriber_id, replay, since, until, events, position, entry_id, end_position,
                               end_entry_id)
    SELECT live.subscriber_id, true, $2, $3::timestamptz, $4::text[], least(live.position, {_FIRST}) - 1,
           '00000000-0000-0000-0000-000000000000', least(live.position, {_PAST}), live.entry_id
    FROM webhook_feeds live
    WHERE live.subscriber_id = $1 AND NOT live.replay
      AND (SELECT count(*) FROM webhook_feeds WHERE subscriber_id = $1 AND replay) < $7
    ON CONFLICT DO NOTHING
    RETURNING id
)
SELECT EXISTS (SELECT FROM known) OR EXISTS (SELECT FROM added)
"""

# As above; $7 all events, $8 how many entries of history are counted: `seen` is one more when there are more.
COUNT_REPLAYED = f"""
SELECT count(m.id) AS replayed, count(*) AS seen
FROM (
    SELECT h.*, {EVENT_OF.format("h", "$7")} AS event
    FROM webhook_feeds live CROSS JOIN LATERAL (
        SELECT kind, subject, detail, at, position, id FROM history
        WHERE history.id >= $5 AND history.id < $6 AND history.at >= $2
          AND ($3::timestamptz IS NULL OR history.at < $3)
        ORDER BY history.id LIMIT $8 + 1
    ) AS h
    WHERE live.subscriber_id = $1 AND NOT live.replay
      AND (h.position, h.id) <= (live.position, live.entry_id)
) AS entry
JOIN webhook_subscribers s ON s.id = $1
LEFT JOIN mails m ON entry.event = ANY ($4::text[]) AND (m.client = s.client) IS NOT FALSE
    AND m.id = CASE WHEN entry.event = ANY ($4) THEN entry.subject::uuid END
"""
