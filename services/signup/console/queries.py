"""SQL of the console's own: searches, and what no use case reads. Each is bounded, whatever the tables hold."""

_ABOVE_ALL = "'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid"
_PERSON = "id, email, name, status, source, external_id, created_at"

FIND_PEOPLE_BY_ADDRESS = f"SELECT {_PERSON} FROM users WHERE email_key = $1"
FIND_PEOPLE_BY_ID = f"SELECT {_PERSON} FROM users WHERE id = $1"
FIND_PEOPLE_BY_EXTERNAL_ID = f"SELECT {_PERSON} FROM users WHERE external_id = $1 ORDER BY id DESC LIMIT 20"
NEWEST_PEOPLE = f"SELECT {_PERSON} FROM users ORDER BY id DESC LIMIT 20"

# An index of names would cost every signup (ADR 0037). $1 a part of the name as in LIKE, $2 below this ID or NULL,
# $3 how many people to look at. `next_id`: the last one looked at, when there may be more.
FIND_PEOPLE_BY_NAME = f"""
WITH looked_at AS MATERIALIZED (
    SELECT {_PERSON} FROM users WHERE id < coalesce($2, {_ABOVE_ALL}) ORDER BY id DESC LIMIT $3
)
SELECT found.*, (SELECT CASE WHEN count(*) = $3 THEN (array_agg(id ORDER BY id))[1] END FROM looked_at) AS next_id
FROM (SELECT) AS always
LEFT JOIN (SELECT * FROM looked_at WHERE name ILIKE $1 ORDER BY id DESC LIMIT 50) AS found ON true
ORDER BY found.id DESC
"""

# A request ID of signup's is the ID of an outbox row.
FIND_OWED = """
SELECT id, effect, user_id, state, created_at FROM outbox WHERE id = $1
UNION ALL
SELECT id, effect, user_id, outcome, created_at FROM outbox_settled WHERE id = $1
LIMIT 1
"""

# No index has correlation IDs. Those that a service made hold the time of their request. $2 from, $3 until (IDs).
FIND_CORRELATED_SINCE = """
SELECT id, at, kind, subject, actor FROM (
    SELECT id, at, kind, subject, actor, correlation_id FROM history
    WHERE id >= $2 AND id < $3
      AND at > $4::timestamptz - interval '32 days' AND at < $4::timestamptz + interval '2 days'
    ORDER BY id LIMIT 5000
) AS looked_at
WHERE correlation_id = $1 ORDER BY id LIMIT 50
"""
# Of other correlation IDs, among the newest entries.
FIND_CORRELATED_LATELY = """
SELECT id, at, kind, subject, actor FROM (
    SELECT id, at, kind, subject, actor, correlation_id FROM history
    WHERE at > now() - interval '32 days' ORDER BY id DESC LIMIT 5000
) AS looked_at
WHERE correlation_id = $1 ORDER BY id LIMIT 50
"""

# Of so many settled rows ($2) below an ID ($1) or from the newest on, the last. None: there are fewer.
LAST_SETTLED = f"""
SELECT id FROM outbox_settled WHERE id < coalesce($1, {_ABOVE_ALL}) ORDER BY id DESC OFFSET $2 - 1 LIMIT 1
"""

# What the change feed reported of these request IDs.
KNOWN_OUTCOMES = """
SELECT request_id, mail_id, state, message_id, sent_at, failure_code, failure_enhanced_code, changed_at
FROM mail_outcomes WHERE request_id = ANY ($1::text[])
"""

# The reasons of pending and dead rows, the most frequent first. IDs in them are left out, so that equal reasons are
# one group. $1 the effects; each state is read up to 10,000 rows.
OUTBOX_GROUPS = """
WITH rows AS (
    (SELECT state, effect, last_error, created_at, dead_at FROM outbox
     WHERE state = 'dead' ORDER BY dead_at DESC LIMIT 10000)
    UNION ALL
    SELECT waiting.* FROM unnest($1::text[]) AS effect
    CROSS JOIN LATERAL (
        SELECT state, outbox.effect, last_error, created_at, dead_at FROM outbox
        WHERE outbox.effect = effect.effect AND due_at IS NOT NULL ORDER BY due_at DESC LIMIT 2000
    ) AS waiting
    WHERE waiting.state = 'pending' AND waiting.last_error IS NOT NULL
)
SELECT state, effect,
       regexp_replace(left(last_error, 300), '[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', '%', 'g')
           AS error,
       count(*) AS rows, min(created_at) AS oldest, max(dead_at) AS newest_dead
FROM rows GROUP BY 1, 2, 3 ORDER BY state, rows DESC LIMIT 50
"""
