"""SQL that reads the mail ledger. `listing.py` builds the queries that depend on a caller's filters."""

from .attachment_queries import ATTACHMENTS_WIPED
from .mail_resource import COLUMNS

# Mails whose content retention may wipe: they are not sent again, and their outcome is known.
SETTLED = "m.state IN ('sent', 'bounced', 'failed', 'canceled', 'expired', 'suppressed')"

# $2 is the client, or NULL for a key that may see every client's mails.
FIND_MAIL = f"""
SELECT {COLUMNS} FROM mails m LEFT JOIN contents c ON c.mail_id = m.id
WHERE m.id = $1 AND ($2::text IS NULL OR m.client = $2)
"""

# $3 is the client whose mails are preferred when several clients used the same request ID.
LOOK_UP = f"""
SELECT DISTINCT ON (m.request_id) {COLUMNS}
FROM mails m LEFT JOIN contents c ON c.mail_id = m.id
WHERE m.request_id = ANY($1::text[]) AND ($2::text IS NULL OR m.client = $2)
ORDER BY m.request_id, m.client = $3 DESC, m.id DESC
"""

# For request IDs that are not in the ledger: what is kept of mails whose rows were deleted. Parameters as above.
LOOK_UP_LOST = """
SELECT DISTINCT ON (l.request_id) l.request_id, l.client, l.mail_id, l.state, l.message_id,
       encode(l.fingerprint, 'hex') AS fingerprint, l.accepted_at, l.sent_at, l.lost_at
FROM lost_mails l
WHERE l.request_id = ANY($1::text[]) AND ($2::text IS NULL OR l.client = $2)
ORDER BY l.request_id, l.client = $3 DESC, l.lost_at DESC
"""

FIND_CONTENT = """
SELECT subject, text, html, headers::text AS headers, sender_email, sender_name, reply_to_email, reply_to_name
FROM contents WHERE mail_id = $1
"""

# The reason of an outcome is in history, written by the same statement. An acceptance needs none.
ATTEMPTS = """
WITH reasons AS (
    SELECT DISTINCT ON (n) (detail ->> 'attempt')::integer AS n, detail ->> 'reason' AS reason
    FROM history WHERE subject = $1::uuid::text AND detail ? 'attempt' ORDER BY n, id DESC
)
SELECT a.n, a.gateway, a.phase, a.outcome, a.counted, a.claimed_at, a.transmitting_at, a.ended_at,
       CASE WHEN a.outcome <> 'accepted' THEN r.reason END AS reason, a.code, a.enhanced_code, a.reply,
       a.idempotency_header, a.ask_until
FROM attempts a LEFT JOIN reasons r ON r.n = a.n
WHERE a.mail_id = $1 AND ($2::integer IS NULL OR a.n < $2) ORDER BY a.n DESC LIMIT $3
"""

HISTORY_OF_MAIL = """
SELECT id, at, kind, subject, related, actor, correlation_id, detail::text AS detail
FROM history WHERE subject = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""

# For the transaction that reads the feed. The planner expects few changes behind a cursor, however many there are, and
# would read them all and sort them for each page.
WALK_IN_ORDER = "SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off"

# Oldest first, after the cursor ($1, $2), and only below every transaction that is still writing: so no entry can
# appear later behind an issued cursor. $3 is the client, or NULL for all; $4 the limit; $5 how many entries of history
# it looks at. The last of these is answered too, without a mail when it is no change of the client's: the next page
# begins behind it. Says in any case whether the entry that the cursor names is in this ledger: after a restore to an
# earlier time it may not be.
# CASE, because only these subjects are IDs. `IS NOT FALSE` keeps the planner off the index of a client's mails.
CHANGES_IN_COMMIT_SAFE_ORDER = """
SELECT known.*, changes.*
FROM (SELECT EXISTS (SELECT FROM history WHERE id = $2 AND position = $1) AS cursor_is_known) AS known
LEFT JOIN LATERAL (
    SELECT seen.position, NOT seen.is_last OR seen.n = $5 AS more, seen.id, seen.at, seen.kind, m.id AS mail_id,
           m.request_id, m.client, seen.detail ->> 'state' AS state,
           coalesce(m.restored_message_id, m.message_id) AS message_id, m.sent_at,
           encode(m.fingerprint, 'hex') AS fingerprint, m.template, seen.correlation_id,
           seen.detail::text AS detail
    FROM (
        SELECT entry.*, row_number() OVER feed AS n, lead(entry.id) OVER feed IS NULL AS is_last
        FROM (
            SELECT h.position, h.id, h.at, h.kind, h.subject, h.correlation_id, h.detail FROM history h
            WHERE (h.position, h.id) > ($1::bigint, $2::uuid) AND h.position < (SELECT feed_horizon())
            ORDER BY h.position, h.id LIMIT $5
        ) AS entry
        WINDOW feed AS (ORDER BY entry.position, entry.id)
    ) AS seen
    LEFT JOIN mails m
        ON m.id = CASE WHEN seen.kind LIKE 'mail.%' AND seen.detail ? 'state' THEN seen.subject::uuid END
        AND (m.client = $3::text) IS NOT FALSE
    WHERE m.id IS NOT NULL OR seen.is_last
    ORDER BY seen.position, seen.id LIMIT $4
) AS changes ON true
ORDER BY changes.position, changes.id
"""

# Age of the oldest change that the feed does not show yet; 0 when it shows all. An expression, used by metrics too.
FEED_LAG_SECONDS = """
coalesce((
    SELECT extract(epoch FROM greatest(clock_timestamp() - h.at, interval '0'))
    FROM history h
    WHERE h.position >= feed_horizon() AND h.kind LIKE 'mail.%' AND h.detail ? 'state'
    ORDER BY h.position, h.id LIMIT 1
), 0)::float8
"""

# This role sees when the transactions of its own sessions began; the owner sees it of others (`feed_holder`).
FEED_LAG = f"""
SELECT lag.seconds, h.pid, h.database, coalesce(h.since, a.xact_start) AS since,
       extract(epoch FROM clock_timestamp() - coalesce(h.since, a.xact_start))::float8 AS held_seconds
FROM (SELECT {FEED_LAG_SECONDS} AS seconds) AS lag
LEFT JOIN feed_holder() AS h ON true LEFT JOIN pg_stat_activity a ON a.pid = h.pid
"""

# A suppression that has ended is not in force, also before retention removes it.
_IN_FORCE = "(s.ends_at IS NULL OR s.ends_at > now())"

# $2 and $3 are the time and digest of the last address of the previous page, which may be gone by now; NULL: the first
# page. The digest orders those of the same time. A cursor stands in access logs, so it may not hold an address.
SUPPRESSIONS = f"""
SELECT s.email, s.reason, s.source, s.mail_id, s.created_at, s.ends_at, key.digest
FROM suppressions s CROSS JOIN LATERAL (SELECT hashtextextended(s.email_key, 0) AS digest) AS key
WHERE (cardinality($1::text[]) = 0 OR s.email_key = ANY($1::text[])) AND {_IN_FORCE}
  AND ($2::timestamptz IS NULL OR (s.created_at, key.digest) < ($2, $3::bigint))
ORDER BY s.created_at DESC, key.digest DESC LIMIT $4
"""

# A person's first reason stays, and a repeated call returns it. It replaces one that a bounce or refusal gave, because
# that one would end.
SUPPRESS = """
WITH new AS (
    INSERT INTO suppressions AS s (email_key, email, reason, source) VALUES ($1, $2, $3, $4)
    ON CONFLICT (email_key) DO UPDATE
        SET reason = excluded.reason, source = excluded.source, mail_id = NULL, created_at = now(), ends_at = NULL
        WHERE s.source IN ('smtp', 'bounce')
    RETURNING new.email, new.reason, new.source, new.mail_id, new.created_at, new.ends_at,
              coalesce(old.ends_at <= now(), old.email_key IS NULL) AS is_new
), history_written AS (
    INSERT INTO history (kind, subject, actor) SELECT 'address.suppressed', $5, $4 FROM new
)
SELECT * FROM new
UNION ALL
SELECT email, reason, source, mail_id, created_at, ends_at, false FROM suppressions
WHERE email_key = $1 AND NOT EXISTS (SELECT FROM new)
"""

UNSUPPRESS = f"""
WITH gone AS (DELETE FROM suppressions s WHERE email_key = $1 AND {_IN_FORCE} RETURNING email_key)
INSERT INTO history (kind, subject, actor, detail) SELECT 'address.allowed', $3, $2, $4::jsonb FROM gone
RETURNING true
"""

# $1 sources, $2 and $3 the time span (NULL: open), $4 the actor, $5 the detail for history without the number.
# One line of history for all. It names up to 1,000 of the addresses, as `subject_of` does.
UNSUPPRESS_MATCHING = f"""
WITH gone AS (
    DELETE FROM suppressions s
    WHERE s.source = ANY($1::text[]) AND {_IN_FORCE}
      AND ($2::timestamptz IS NULL OR s.created_at >= $2) AND ($3::timestamptz IS NULL OR s.created_at < $3)
    RETURNING s.email_key
), counted AS (
    SELECT count(*) AS deleted FROM gone
), history_written AS (
    INSERT INTO history (kind, subject, related, actor, detail)
    SELECT 'suppressions.deleted', 'suppressions',
           ARRAY(
               SELECT 'address:' || left(encode(sha256(convert_to(email_key, 'UTF8')), 'hex'), 32) FROM gone LIMIT 1000
           ),
           $4, $5::jsonb || jsonb_build_object('deleted', deleted)
    FROM counted WHERE deleted > 0
)
SELECT deleted FROM counted
"""

# $1 batch size. Returns the number.
DELETE_SUPPRESSIONS_IF_ENDED = """
WITH due AS MATERIALIZED (
    SELECT email_key FROM suppressions WHERE ends_at <= now() ORDER BY ends_at LIMIT $1 FOR UPDATE SKIP LOCKED
), gone AS (
    DELETE FROM suppressions WHERE email_key = ANY(ARRAY(SELECT email_key FROM due)) RETURNING email_key
), history_written AS (
    INSERT INTO history (kind, subject, actor, detail)
    SELECT 'address.allowed', 'address:' || left(encode(sha256(convert_to(email_key, 'UTF8')), 'hex'), 32),
           'mail-worker', '{"reason": "the suppression ended"}'
    FROM gone
)
SELECT count(*) FROM gone
"""

# IDs are UUIDv7, so primary keys follow the time of accept and retention needs no other index.
# The mail is locked first, as in every statement. $1 days, $2 batch size. Returns the number of mails.
WIPE_CONTENTS_IF_SETTLED = f"""
WITH due AS MATERIALIZED (
    SELECT locked.id FROM contents c CROSS JOIN LATERAL (
        -- A lateral subquery, so that no plan reads the whole ledger: one primary key lookup for each content.
        SELECT m.id FROM mails m
        WHERE m.id = c.mail_id AND m.accepted_at < now() - make_interval(days => $1::int) AND {SETTLED}
        FOR UPDATE SKIP LOCKED
    ) AS locked
    WHERE c.mail_id < (SELECT uuidv7(make_interval(days => -$1::int)))
    ORDER BY c.mail_id LIMIT $2
), wiped AS (
    DELETE FROM contents WHERE mail_id = ANY(ARRAY(SELECT id FROM due))
), {ATTACHMENTS_WIPED.format(mails="due")}, replies_wiped AS (
    UPDATE attempts SET reply = NULL WHERE mail_id = ANY(ARRAY(SELECT id FROM due)) AND reply IS NOT NULL
), failure_replies_wiped AS (
    UPDATE mails SET failure_reply = NULL WHERE id = ANY(ARRAY(SELECT id FROM due)) AND failure_reply IS NOT NULL
)
SELECT count(*) FROM due
"""

# Diagnostics of notices, which may arrive after the mail's own replies were wiped. $1 days, $2 batch size.
WIPE_DIAGNOSTICS = f"""
WITH due AS MATERIALIZED (
    SELECT id, mail_id FROM bounces
    WHERE diagnostic IS NOT NULL AND received_at < now() - make_interval(days => $1::int)
    ORDER BY received_at LIMIT $2
    FOR UPDATE SKIP LOCKED
), wiped AS (
    UPDATE bounces SET diagnostic = NULL WHERE id = ANY(ARRAY(SELECT id FROM due))
), failure_replies_wiped AS (
    UPDATE mails m SET failure_reply = NULL
    WHERE m.id = ANY(ARRAY(SELECT mail_id FROM due)) AND m.failure_reply IS NOT NULL AND {SETTLED}
)
SELECT count(*) FROM due
"""

# Scans the $3 mails after $2, wiped or not: an index of those not wiped yet would slow down every accept.
WIPE_ADDRESSES_IF_SETTLED = f"""
WITH seen AS MATERIALIZED (
    SELECT id FROM mails WHERE id > $2 AND id < (SELECT uuidv7(make_interval(days => -$1::int)))
    ORDER BY id LIMIT $3
), wiped AS (
    UPDATE mails m
    SET to_email = NULL, to_key = NULL, to_name = NULL,
        failure_reason = CASE WHEN m.state = 'suppressed' THEN 'address suppressed' ELSE m.failure_reason END,
        metadata = (
            SELECT coalesce(jsonb_object_agg(e.key, e.value), '{{}}') FROM jsonb_each(m.metadata) e
            WHERE right(e.key, 3) = '_id'
        )
    WHERE m.id = ANY(ARRAY(SELECT id FROM seen)) AND m.to_key IS NOT NULL AND {SETTLED}
      AND m.accepted_at < now() - make_interval(days => $1::int)
    RETURNING m.id
)
SELECT (SELECT count(*) FROM seen) AS seen, (SELECT count(*) FROM wiped) AS wiped,
       (SELECT id FROM seen ORDER BY id DESC LIMIT 1) AS last
"""

RECORD_RETENTION_RUN = """
INSERT INTO retention_runs (ran_at, contents_wiped, addresses_wiped) VALUES (now(), $1, $2)
ON CONFLICT (singleton) DO UPDATE
    SET ran_at = now(), contents_wiped = excluded.contents_wiped, addresses_wiped = excluded.addresses_wiped
"""
