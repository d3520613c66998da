"""The SQL that hands history over to subscribers and settles their deliveries.

Each statement is one transaction. What follows a claim is fenced: it changes no row that another lease holds.
"""

from shared.webhooks.subscriber_queries import CALLED

# Longer than any transaction of the services takes between its number and its entry of history.
_SLACK = "interval '1 minute'"

# Where to begin to read for what happened since {since}: the feed is ordered by transaction numbers, not by time. All
# that is not visible yet has a number from the horizon on.
START = f"""
least(
    feed_horizon(),
    (
        SELECT h.position FROM (SELECT uuidv7({{since}} - {_SLACK} - now()) AS id OFFSET 0) AS lowest
        CROSS JOIN LATERAL (
            SELECT position FROM history
            WHERE history.id >= lowest.id AND history.at >= {{since}} - {_SLACK} ORDER BY history.id LIMIT 1
        ) AS h
    )
) - 1
"""

# A subscriber that was added or enabled gets events since then.
BEGIN_FEEDS_IF_NEW = f"""
    INSERT INTO webhook_feeds AS f (subscriber_id, since, position, entry_id)
    SELECT s.id, s.enabled_at, {START.format(since="s.enabled_at")}, '00000000-0000-0000-0000-000000000000'
    FROM webhook_subscribers s
    WHERE s.disabled_at IS NULL AND NOT EXISTS (
        SELECT FROM webhook_feeds f WHERE f.subscriber_id = s.id AND NOT f.replay AND f.since = s.enabled_at
    )
    ON CONFLICT (subscriber_id) WHERE NOT replay
        DO UPDATE SET since = excluded.since, position = excluded.position, entry_id = excluded.entry_id
        WHERE f.since <> excluded.since
    RETURNING f.id
"""

# The event of an entry `{0}` of history, or NULL. {1} are all events.
EVENT_OF = """
CASE
    WHEN {0}.kind = ANY ({1}::text[]) THEN {0}.kind
    WHEN {0}.kind = 'mail.resolved' AND {0}.detail ->> 'state' = 'sent' THEN 'mail.sent'
END
"""

# Whether an entry `{0}` is a replay's to bring back; {1} has columns of the replay. What the subscriber's own feed had
# not read when the replay was asked for comes by that one, unless it happened before the subscriber was enabled.
REPLAYED = "({0}.at < {1}.enabled_at OR ({0}.position, {0}.id) <= ({1}.live_position, {1}.live_entry_id))"

# Reports of delivery and complaints do not change the state: it is that of the entry before.
_STATE = """
coalesce(seen.detail ->> 'state', (
    SELECT h.detail ->> 'state' FROM history h
    WHERE h.subject = seen.subject AND h.id < seen.id AND h.kind LIKE 'mail.%' AND h.detail ? 'state'
    ORDER BY h.id DESC LIMIT 1
), m.state)
"""

# $1 all events, $2 and $3 how many deliveries of a subscriber may wait before nothing is added as it happens, and in a
# replay; $4 how many entries of a feed are read at a time, $5 seconds until a delivery is given up, $6 seconds for
# which an old secret signs.
#
# Reads each feed behind its cursor and below every transaction that is still writing, as GET /v1/changes does, adds a
# delivery for each event and moves the cursor: all in one statement, so each event is added exactly once. A feed that
# another worker is reading is left to it. One that another worker has moved since the snapshot was taken is read from
# where it is now; below the horizon of a snapshot nothing is missing in it.
# A subscriber that is down fills its share, and is read for no further: history keeps the rest.
# A replay ends when its subscriber is disabled: DELETE_VOID_REPLAYS removes it.
# Answers with the subscribers to serve; also disabled ones, to which deliveries are owed that must be canceled.
FEED = f"""
WITH begun AS ({BEGIN_FEEDS_IF_NEW}
), waiting AS MATERIALIZED (
    SELECT s.id AS subscriber_id, w.*
    FROM webhook_subscribers s CROSS JOIN LATERAL (
        SELECT count(*) AS deliveries, min(d.occurred_at) AS since, min(d.due_at) AS due_at
        FROM webhook_deliveries d WHERE d.subscriber_id = s.id
    ) AS w
    WHERE s.disabled_at IS NULL OR w.deliveries > 0
), feed AS MATERIALIZED (
    SELECT f.*, coalesce(f.events, s.events) AS wanted, s.client, s.enabled_at, least($4::int, share.room) AS room
    FROM webhook_feeds f JOIN webhook_subscribers s ON s.id = f.subscriber_id
    JOIN waiting w ON w.subscriber_id = s.id
    CROSS JOIN LATERAL (SELECT CASE WHEN f.replay THEN $3::int ELSE $2::int END - w.deliveries AS room) AS share
    WHERE s.disabled_at IS NULL AND share.room > 0
      AND CASE WHEN f.replay THEN f.created_at >= s.enabled_at ELSE f.since = s.enabled_at END
    FOR UPDATE OF f SKIP LOCKED
), seen AS MATERIALIZED (
    SELECT feed.id AS feed_id, entry.* FROM feed CROSS JOIN LATERAL (
        SELECT h.position, h.id, h.at, h.kind, h.subject, h.detail, h.traceparent FROM history h
        WHERE (h.position, h.id) > (feed.position, feed.entry_id) AND h.position < feed_horizon()
          AND (NOT feed.replay OR h.position < feed.read_below)
        ORDER BY h.position, h.id LIMIT feed.room
    ) AS entry
), added AS (
    INSERT INTO webhook_deliveries (
        subscriber_id, id, position, mail_id, event, data, traceparent, occurred_at, expires_at
    )
    SELECT
        feed.subscriber_id, seen.id, seen.position, m.id, named.event,
        jsonb_strip_nulls(jsonb_build_object(
            'id', m.id, 'request_id', m.request_id, 'state', {_STATE},
            'code', seen.detail -> 'code', 'enhanced_code', seen.detail -> 'enhanced_code'
        )),
        seen.traceparent, seen.at, greatest(seen.at, feed.created_at) + make_interval(secs => $5)
    FROM seen JOIN feed ON feed.id = seen.feed_id
    CROSS JOIN LATERAL (SELECT {EVENT_OF.format("seen", "$1")} AS event OFFSET 0) AS named
    JOIN mails m ON m.id = CASE WHEN named.event IS NOT NULL THEN seen.subject::uuid END
    -- `IS NOT FALSE` keeps the planner off the index of a client's mails: perhaps all mails.
    WHERE named.event = ANY (feed.wanted) AND (m.client = feed.client) IS NOT FALSE
      AND seen.at >= feed.since AND (feed.until IS NULL OR seen.at < feed.until)
      AND CASE WHEN feed.replay THEN {REPLAYED.format("seen", "feed")} ELSE true END
    ORDER BY seen.position, seen.id
    ON CONFLICT DO NOTHING
    RETURNING subscriber_id
), reached AS (
    SELECT feed.id, feed.replay AND coalesce(last.entries, 0) < feed.room AS done, last.*, feed.room
    FROM feed LEFT JOIN LATERAL (
        SELECT seen.position, seen.id AS entry_id, count(*) OVER () AS entries FROM seen
        WHERE seen.feed_id = feed.id ORDER BY seen.position DESC, seen.id DESC LIMIT 1
    ) AS last ON true
), moved AS (
    UPDATE webhook_feeds f SET position = reached.position, entry_id = reached.entry_id
    FROM reached WHERE f.id = reached.id AND NOT reached.done AND reached.entries > 0
), ended AS (
    DELETE FROM webhook_feeds f USING reached WHERE f.id = reached.id AND reached.done
)
SELECT {CALLED.format(old="$6")},
       w.deliveries, extract(epoch FROM now() - w.since)::float8 AS oldest_seconds,
       EXISTS (SELECT FROM added a WHERE a.subscriber_id = s.id) OR coalesce(w.due_at <= now(), false) AS is_owed,
       EXISTS (SELECT FROM begun) OR EXISTS (SELECT FROM reached WHERE entries = reached.room) AS more
FROM webhook_subscribers s JOIN waiting w ON w.subscriber_id = s.id
"""

# An expression, for a look that is made anyway: whether FEED has anything to do.
HAS_SUBSCRIBERS = """
(EXISTS (SELECT FROM webhook_subscribers WHERE disabled_at IS NULL) OR EXISTS (SELECT FROM webhook_deliveries))
"""

# An expression: how many deliveries were given up in the last day and not delivered since, of subscribers that exist.
# Counted up to 1,000.
DEAD_DELIVERIES = """
(
    SELECT count(*) FROM (
        SELECT FROM webhook_deliveries_settled d
        WHERE d.outcome = 'dead' AND d.settled_at > now() - interval '1 day'
          AND EXISTS (SELECT FROM webhook_subscribers s WHERE s.id = d.subscriber_id)
          AND (
              SELECT true FROM webhook_deliveries_settled newer
              WHERE newer.subscriber_id = d.subscriber_id AND newer.event = d.event AND newer.id = d.id
                AND newer.settled_at > d.settled_at
              LIMIT 1
          ) IS NULL
        LIMIT 1000
    ) AS dead
)
"""

# $1 subscribers, $2 how many for each, $3 lease seconds, $4 the lease. An event waits while an earlier one of its mail
# is not settled, so that a subscriber gets the events of a mail in their order. `IS NULL` looks each up by the index of
# its mail: `NOT EXISTS` may become a join of all that wait with each other. `= ANY` here and below, beside a join:
# where the last vacuum saw the table empty, a join alone reads all of it for each row of a batch.
CLAIM_DUE = """
WITH asked AS (
    SELECT * FROM unnest($1::uuid[], $2::int[]) AS asked (subscriber_id, room)
), due AS MATERIALIZED (
    SELECT waiting.* FROM asked CROSS JOIN LATERAL (
        SELECT d.subscriber_id, d.id FROM webhook_deliveries d
        WHERE d.subscriber_id = asked.subscriber_id AND d.due_at <= now() AND (
            SELECT true FROM webhook_deliveries earlier
            WHERE earlier.mail_id = d.mail_id AND (earlier.subscriber_id = d.subscriber_id) IS NOT FALSE
              AND (earlier.position, earlier.id) < (d.position, d.id)
            LIMIT 1
        ) IS NULL
        ORDER BY d.due_at, d.position, d.id LIMIT asked.room FOR UPDATE OF d SKIP LOCKED
    ) AS waiting
), claimed AS (
    UPDATE webhook_deliveries d SET lease = $4, due_at = now() + make_interval(secs => $3)
    FROM due WHERE d.id = ANY (ARRAY(SELECT id FROM due)) AND d.subscriber_id = due.subscriber_id AND d.id = due.id
    RETURNING d.subscriber_id, d.id, d.position, d.event, d.data::text AS data, d.traceparent, d.occurred_at,
              d.attempts, d.expires_at
)
SELECT claimed.*, now() AS claimed_at FROM claimed ORDER BY claimed.position, claimed.id
"""

_KEPT = """
kept AS (
    INSERT INTO webhook_deliveries_settled
        (subscriber_id, event, id, mail_id, outcome, attempts, last_status, last_error, occurred_at)
    SELECT subscriber_id, event, id, mail_id, outcome, attempts + called, status, error, occurred_at FROM gone
)
SELECT outcome, count(*) AS settled FROM gone GROUP BY outcome
"""

# $1 the lease, $2 the subscriber, $3 IDs, $4 outcomes, $5 answers, $6 errors, $7 1 for an attempt that counts, or 0.
SETTLE_IF_LEASED = f"""
WITH verdict AS (
    SELECT * FROM unnest($3::uuid[], $4::text[], $5::int[], $6::text[], $7::int[])
        AS verdict (id, outcome, status, error, called)
), gone AS (
    DELETE FROM webhook_deliveries d USING verdict v
    WHERE d.id = ANY ($3::uuid[]) AND (d.subscriber_id = $2) IS NOT FALSE AND d.id = v.id AND d.lease = $1
    RETURNING d.*, v.outcome, v.status, v.error, v.called
), {_KEPT}
"""

# As above; $4 seconds to wait.
RETRY_IF_LEASED = """
WITH verdict AS (
    SELECT * FROM unnest($3::uuid[], $4::float8[], $5::int[], $6::text[], $7::int[])
        AS verdict (id, delay_seconds, status, error, called)
), again AS (
    UPDATE webhook_deliveries d SET
        lease = NULL, due_at = now() + make_interval(secs => v.delay_seconds), attempts = d.attempts + v.called,
        last_status = CASE v.called WHEN 1 THEN v.status ELSE d.last_status END, last_error = v.error
    FROM verdict v
    WHERE d.id = ANY ($3::uuid[]) AND (d.subscriber_id = $2) IS NOT FALSE AND d.id = v.id AND d.lease = $1
    RETURNING d.id
)
SELECT count(*) FROM again
"""

# For subscribers whose breaker is open: nothing is claimed for them. A lease that is over has no worker.
GIVE_UP_EXPIRED = f"""
WITH expired AS MATERIALIZED (
    SELECT subscriber_id, id FROM webhook_deliveries
    WHERE expires_at <= now() AND due_at <= now() ORDER BY id LIMIT $1 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM webhook_deliveries d USING expired e
    WHERE d.id = ANY (ARRAY(SELECT id FROM expired)) AND d.subscriber_id = e.subscriber_id AND d.id = e.id
    RETURNING d.*, 'dead'::text AS outcome, d.last_status AS status, 0 AS called,
              'Given up: the delivery has expired. ' || coalesce('Last error: ' || d.last_error, 'It was never tried')
                  AS error
), {_KEPT}
"""
