"""The SQL of the delivery log and of replays."""

from shared.webhooks.delivery_log import LogQueries

from .queries import EVENT_OF, REPLAYED

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

# Replays that ended when the subscriber was disabled, before the same may be asked for again.
DELETE_VOID_REPLAYS = """
DELETE FROM webhook_feeds f USING webhook_subscribers s
WHERE s.id = f.subscriber_id AND s.id = $1 AND f.replay AND f.created_at < s.enabled_at
"""

# Where the entries of a span are in the feed: $5 and $6 are IDs a minute before and after it. An entry of a transaction
# that took longer would be missed.
_FIRST = "(SELECT position FROM history WHERE history.id >= $5 ORDER BY history.id LIMIT 1)"
_PAST = "(SELECT position FROM history WHERE history.id >= $6 ORDER BY history.id LIMIT 1)"

# $1 the subscriber, $2 and $3 the times (NULL: no end), $4 events, $5 and $6 the IDs (from, below), $7 how many replays
# may be under way. The same one again, while it is, is the same: returns true, like a new one.
ADD_REPLAY = f"""
WITH known AS (
    SELECT FROM webhook_feeds WHERE subscriber_id = $1 AND replay AND since = $2 AND until IS NOT DISTINCT FROM $3
      AND events = $4
), added AS (
    INSERT INTO webhook_feeds (
        subscriber_id, replay, since, until, events, position, entry_id, read_below, live_position, live_entry_id
    )
    SELECT live.subscriber_id, true, $2, $3::timestamptz, $4::text[], least(feed_horizon(), {_FIRST}) - 1,
           '00000000-0000-0000-0000-000000000000', least(feed_horizon(), {_PAST}), live.position, live.entry_id
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
    SELECT s.client, h.subject, {EVENT_OF.format("h", "$7")} AS event, {REPLAYED.format("h", "live")} AS is_replayed
    FROM webhook_subscribers s
    CROSS JOIN LATERAL (
        SELECT s.enabled_at, f.position AS live_position, f.entry_id AS live_entry_id
        FROM webhook_feeds f WHERE f.subscriber_id = s.id AND NOT f.replay
    ) AS live
    CROSS JOIN LATERAL (
        SELECT kind, subject, detail, at, position, id FROM history
        WHERE history.id >= $5 AND history.id < $6 AND history.at >= $2
          AND ($3::timestamptz IS NULL OR history.at < $3)
        ORDER BY history.id LIMIT $8 + 1
    ) AS h
    WHERE s.id = $1
) AS entry
LEFT JOIN mails m ON entry.is_replayed AND entry.event = ANY ($4::text[]) AND (m.client = entry.client) IS NOT FALSE
    AND m.id = CASE WHEN entry.event = ANY ($4) THEN entry.subject::uuid END
"""
