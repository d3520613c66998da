"""The SQL that repairs what a reconciliation found. Every write needs the run's lease ($1 the run, $2 the lease)."""

from shared.contract.mails import MAX_BATCH

from .queries import UNSERVED

_RUN = "run AS MATERIALIZED (SELECT id, repaired FROM reconciliation_runs WHERE id = $1 AND lease = $2 FOR UPDATE)"

# `repaired` holds the findings just repaired; $3 is the kind of their history lines, $4 the actor.
_COUNT_AND_NOTE = """
counted AS (
    UPDATE reconciliation_runs r SET repaired = r.repaired || sums.repaired
    FROM (
        SELECT run.id, jsonb_object_agg(h.kind, coalesce((run.repaired ->> h.kind)::bigint, 0) + h.count) AS repaired
        FROM run JOIN (SELECT run_id, kind, count(*) FROM repaired GROUP BY run_id, kind) AS h ON h.run_id = run.id
        GROUP BY run.id
    ) AS sums
    WHERE r.id = sums.id
), noted AS (
    INSERT INTO history (kind, subject, related, actor)
    SELECT $3, request_id, array_remove(ARRAY[run_id::text, user_id::text, mail_id::text], NULL), $4 FROM repaired
)
SELECT count(*) FROM repaired
"""

# $1 the run, $2 after this finding. The limit is known to the plan, so that what is joined is looked up by key
# (ADR 0045).
_OPEN = f"""
SELECT id, request_id, kind FROM reconciliation_findings
WHERE run_id = $1 AND kind IN ({{kinds}}) AND repairable AND repaired_at IS NULL AND id > $2
ORDER BY id LIMIT {MAX_BATCH}
"""
NEXT_LOST = f"""
WITH open AS MATERIALIZED ({_OPEN.format(kinds="'lost_records', 'different'")})
SELECT open.id, open.request_id, open.kind = 'different' AS even_if_known, s.payload #>> '{{to,email}}' AS email,
       s.payload #>> '{{to,name}}' AS name, s.payload ->> 'template' AS template, f.sent_at, f.message_id, f.fingerprint
FROM open
LEFT JOIN outbox_settled s ON s.id = open.request_id::uuid AND s.effect = 'mail'
LEFT JOIN mail_outcomes f ON f.request_id = open.request_id AND f.sent_at IS NOT NULL
ORDER BY open.id
"""
NEXT_MISSING = _OPEN.format(kinds="'missing'")
NEXT_UNSERVED = _OPEN.format(kinds="'unserved_users'")

# $5 the request IDs that the mail service has stored as sent.
KEEP_RESTORED_IF_LEASED = f"""
WITH {_RUN}, repaired AS (
    UPDATE reconciliation_findings f SET repaired_at = now() FROM run
    WHERE f.run_id = run.id AND f.kind IN ('lost_records', 'different') AND f.repairable AND f.repaired_at IS NULL
      AND f.request_id = ANY ($5::text[])
    RETURNING f.run_id, f.kind, f.request_id, f.user_id, f.mail_id
), {_COUNT_AND_NOTE}
"""

# $5 the request IDs, $6 seconds until they expire. A mail that became known as sent meanwhile stays where it is.
REQUEUE_IF_LEASED = f"""
WITH {_RUN}, back AS MATERIALIZED (
    SELECT again.id::text AS request_id
    FROM run, requeue_mails_not_known_sent(CASE WHEN run.id = $1 THEN $5::uuid[] END, $6) AS again
), repaired AS (
    UPDATE reconciliation_findings f SET repaired_at = now() FROM run, back
    WHERE f.run_id = run.id AND f.kind = 'missing' AND f.request_id = back.request_id
    RETURNING f.run_id, f.kind, f.request_id, f.user_id, f.mail_id
), {_COUNT_AND_NOTE}
"""

# $5 the users, $6 what is pinned in the row, with the parts of the link, $7 seconds until the mail expires. A user who
# was owed a mail since the scan has a new `last_mail_at` when the row is locked, and is skipped.
OWE_MAIL_IF_LEASED_AND_UNSERVED = f"""
WITH {_RUN}, looked AS MATERIALIZED (
    SELECT id, last_mail_at FROM users WHERE id = ANY ($5::uuid[])
), person AS (
    UPDATE users AS u SET last_mail_at = now() FROM run, looked
    WHERE u.id = looked.id AND u.last_mail_at IS NOT DISTINCT FROM looked.last_mail_at AND {UNSERVED}
    RETURNING u.id, u.email, u.name, u.locale, run.id AS run_id
), owed AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at)
    SELECT
        'mail', id,
        jsonb_build_object(
            'template', 'verification', 'to', jsonb_build_object('email', email, 'name', name), 'locale', locale
        ) || $6::jsonb,
        now() + make_interval(secs => $7)
    FROM person
    RETURNING user_id
), repaired AS (
    UPDATE reconciliation_findings f SET repaired_at = now() FROM person, owed
    WHERE owed.user_id = person.id AND f.run_id = person.run_id AND f.kind = 'unserved_users'
      AND f.request_id = person.id::text
    RETURNING f.run_id, f.kind, f.request_id, f.user_id, f.mail_id
), {_COUNT_AND_NOTE}
"""
