"""The SQL of reconciliation: runs, their steps, and the rows that they read.

A statement `…_IF_LEASED` does nothing once the worker's lease has ended ($1 the run, $2 the lease).
"""

from shared.contract.mails import MAX_LOOKUP

from ..outbox.queries import WAITS_SINCE

# Older settled rows have been dropped (ADR 0013): nothing can be said about mails that were requested before.
_KEPT_FROM = "(SELECT kept_from FROM partition_upkeep WHERE parent = 'outbox_settled')"
_KEPT = f"coalesce({_KEPT_FROM}, '-infinity')"

# The beginning of both ledgers: the earliest mail that signup requested, and at least the day that the schedule covers.
BEGINNING = f"""
greatest({_KEPT}, least(
    now() - interval '25 hours',
    (SELECT min(created_at) FROM outbox_settled WHERE effect = 'mail'),
    (SELECT created_at FROM users ORDER BY id LIMIT 1)
))
"""

# $1 from and $2 to as requested, or NULL. A window ends `$3` seconds ago at the latest and begins with the kept rows.
# A request that lies before that, or is too young, leaves a window without length: its run compares nothing.
REQUEST_RUN = f"""
WITH asked AS (
    SELECT coalesce($1::timestamptz, {BEGINNING}) AS begins,
           least(coalesce($2::timestamptz, now()), now() - make_interval(secs => $3)) AS ends
), run AS (
    INSERT INTO reconciliation_runs (window_from, window_to, repair, actor, correlation_id)
    SELECT greatest(begins, least({_KEPT}, ends)), greatest(begins, ends), $4, $5, $6 FROM asked
    RETURNING *
), noted AS (
    INSERT INTO history (kind, subject, actor, correlation_id, detail)
    SELECT 'reconciliation.requested', id::text, actor, correlation_id, jsonb_build_object('repair', repair) FROM run
)
SELECT *, {_KEPT_FROM} AS kept_from FROM run
"""

# Due an hour after the last run or the first user, and five minutes after a run that got no answer; never while a run
# goes on, because runs take turns: those that take over an hour would pile up. The window starts where the last
# balanced one ended, with an hour of overlap, and covers the windows of runs that failed since.
SCHEDULE_IF_DUE = f"""
INSERT INTO reconciliation_runs (window_from, window_to, repair, actor)
SELECT greatest({_KEPT}, least(
           coalesce(
               (SELECT max(window_to) FROM reconciliation_runs WHERE verdict = 'balanced') - interval '1 hour',
               now() - interval '25 hours'
           ),
           (SELECT min(failed.window_from) FROM reconciliation_runs failed WHERE failed.state = 'failed'
            AND NOT EXISTS (SELECT FROM reconciliation_runs done WHERE done.state = 'done' AND done.id > failed.id))
       )),
       now() - make_interval(secs => $2), true, $1
WHERE coalesce(
    (
        SELECT CASE WHEN state = 'failed' THEN finished_at - interval '55 minutes' ELSE started_at END
        FROM reconciliation_runs ORDER BY id DESC LIMIT 1
    ),
    (SELECT created_at FROM users ORDER BY id LIMIT 1)
) <= now() - interval '1 hour'
  AND NOT EXISTS (SELECT FROM reconciliation_runs WHERE state = 'running')
"""

# Only the oldest run, so that no two runs repair the same rows at once. Moves `due_at` to the lease's end ($2 seconds).
CLAIM_OLDEST_RUN = """
UPDATE reconciliation_runs SET lease = $1, due_at = now() + make_interval(secs => $2)
WHERE id = (SELECT id FROM reconciliation_runs WHERE state = 'running' ORDER BY id LIMIT 1)
  AND state = 'running' AND due_at <= now()
RETURNING id, window_from, window_to, repair, phase, position, faults, now() AS now
"""

# Findings, counts and position are one commit, so that an interrupted run counts nothing twice. An unrepairable finding
# that was reported before, unchanged, is only `known`. $3 phase, $4 position, $5 rows compared, then the findings.
KEEP_STEP_IF_LEASED = """
WITH run AS MATERIALIZED (
    SELECT id FROM reconciliation_runs WHERE id = $1 AND lease = $2 FOR UPDATE
), seen AS MATERIALIZED (
    SELECT s.* FROM unnest(
        $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::text[], $11::text[], $12::bool[]
    ) AS s (kind, request_id, mail_id, user_id, reason, mark, repairable)
), named AS (
    INSERT INTO reconciliation_findings AS f (run_id, kind, request_id, mail_id, user_id, reason, mark, repairable)
    SELECT run.id, seen.* FROM run, seen ORDER BY seen.kind, seen.request_id
    ON CONFLICT (kind, request_id) DO UPDATE SET
        run_id = excluded.run_id, mail_id = excluded.mail_id, user_id = excluded.user_id, reason = excluded.reason,
        mark = excluded.mark, repairable = excluded.repairable, found_at = now(), repaired_at = NULL
    WHERE excluded.repairable OR f.mark <> excluded.mark
    RETURNING kind, request_id, mail_id, user_id, reason
), counts AS (
    SELECT count(*) AS total, count(*) FILTER (WHERE kind = 'missing') AS missing,
           count(*) FILTER (WHERE kind = 'lost_records') AS lost_records,
           count(*) FILTER (WHERE kind = 'unexpected') AS unexpected,
           count(*) FILTER (WHERE kind = 'different') AS different,
           count(*) FILTER (WHERE kind = 'stuck') AS stuck,
           count(*) FILTER (WHERE kind = 'unserved_users') AS unserved_users
    FROM named
), shown AS (
    SELECT kind, jsonb_agg(jsonb_build_object(
        'request_id', request_id, 'mail_id', mail_id, 'user_id', user_id, 'reason', reason
    )) AS items
    FROM named GROUP BY kind
)
UPDATE reconciliation_runs r SET
    phase = $3, position = $4, compared = compared + $5, faults = 0, lease = NULL, due_at = now(),
    missing = r.missing + c.missing, lost_records = r.lost_records + c.lost_records,
    unexpected = r.unexpected + c.unexpected, different = r.different + c.different, stuck = r.stuck + c.stuck,
    unserved_users = r.unserved_users + c.unserved_users,
    known = r.known + (SELECT count(*) FROM seen) - c.total,
    examples = r.examples || coalesce((
        SELECT jsonb_object_agg(
            kind, jsonb_path_query_array(coalesce(r.examples -> kind, '[]') || items, '$[0 to 19]')
        ) FROM shown
    ), '{}')
FROM counts c, run WHERE r.id = run.id
RETURNING true
"""

# Waiting rows, and whether they wait too long. $3 after this ID, $4 seconds that are too long. The limit stands in the
# statement, here and below, so that what is joined is looked up by key (ADR 0045).
NEXT_WAITING = f"""
SELECT id, user_id,
       due_at <= now() - make_interval(secs => $4)
       OR (last_error IS NOT NULL AND {WAITS_SINCE} <= now() - make_interval(secs => $4)) AS stuck
FROM outbox
WHERE effect = 'mail' AND id > $3 AND created_at >= $1 AND created_at < $2
ORDER BY id LIMIT {MAX_LOOKUP}
"""

# Mails handed over in the window, with everything that this ledger knows about them. ($1, $2) is the last one that was
# read, or the window's beginning, $3 its end. There is no second lower bound: the index would be read from the lower of
# the two on, for each page.
NEXT_SETTLED = f"""
SELECT s.id, s.user_id, s.created_at, s.outcome, s.payload #>> '{{to,email}}' AS to_email,
       s.result ->> 'fingerprint' AS fingerprint, s.result ->> 'state' AS answered_state,
       EXISTS (SELECT FROM outbox o WHERE o.id = s.id) AS waiting,
       s.payload ? 'link' AND u.status IS DISTINCT FROM 'pending' AS served,
       f.state AS known_state, f.sent_at, f.fingerprint AS known_fingerprint
FROM outbox_settled s
LEFT JOIN mail_outcomes f ON f.request_id = s.id::text
LEFT JOIN users u ON u.id = s.user_id
WHERE s.effect = 'mail' AND (s.created_at, s.id) > ($1, $2) AND s.created_at < $3
ORDER BY s.created_at, s.id LIMIT {MAX_LOOKUP}
"""

# Which of these signup ever requested: for users ($1) or as operator alerts ($2). An ID older than the kept rows
# counts as requested.
ASKED_FOR = f"""
SELECT id::text AS name FROM outbox WHERE id = ANY ($1::uuid[])
UNION
SELECT id::text FROM outbox_settled WHERE id = ANY ($1::uuid[])
UNION
SELECT id::text FROM unnest($1::uuid[]) AS id WHERE uuid_extract_timestamp(id) < {_KEPT_FROM}
UNION
SELECT 'alert/' || id FROM alerts WHERE id = ANY ($2::uuid[])
"""

# Users who had no chance to verify: no waiting, leased or dead row carries a link, and every settled row that does has
# expired at the mail service before any verdict on the address (ADR 0008). Nothing is known about mails to users from
# before the kept rows, so they are not mailed again.
UNSERVED = f"""
u.status = 'pending' AND u.created_at >= {_KEPT}
AND NOT EXISTS (SELECT FROM outbox o WHERE o.user_id = u.id AND o.effect = 'mail' AND o.payload ? 'link')
AND NOT EXISTS (
    SELECT FROM outbox_settled s LEFT JOIN mail_outcomes f ON f.request_id = s.id::text
    WHERE s.user_id = u.id AND s.effect = 'mail' AND s.payload ? 'link' AND f.state IS DISTINCT FROM 'expired'
)
"""

# $1 and $2 the window, $3 and $4 the IDs between which its users are.
NEXT_PENDING_USERS = f"""
SELECT u.id, u.created_at, {UNSERVED} AS unserved
FROM users u
WHERE u.status = 'pending' AND u.id > $3 AND u.id < $4 AND u.created_at >= $1 AND u.created_at < $2
ORDER BY u.id LIMIT {MAX_LOOKUP}
"""

FINISH_IF_LEASED = """
WITH run AS (
    UPDATE reconciliation_runs SET
        state = 'done', phase = 'finished', finished_at = now(), due_at = NULL, lease = NULL,
        verdict = CASE
            WHEN missing + lost_records + unexpected + different + stuck + unserved_users > 0 THEN 'out_of_balance'
            WHEN compared = 0 THEN 'incomplete'
            ELSE 'balanced'
        END
    WHERE id = $1 AND lease = $2
    RETURNING *
)
INSERT INTO history (kind, subject, actor, correlation_id, detail)
SELECT 'reconciliation.finished', id::text, $3, correlation_id, jsonb_build_object(
           'verdict', verdict, 'compared', compared, 'missing', missing, 'lost_records', lost_records,
           'unexpected', unexpected, 'different', different, 'stuck', stuck, 'unserved_users', unserved_users,
           'known', known, 'repaired', repaired
       )
FROM run RETURNING detail ->> 'verdict'
"""

# The mail service gave no answer: retry in $4 seconds.
POSTPONE_IF_LEASED = """
UPDATE reconciliation_runs SET lease = NULL, faults = faults + 1, last_error = $3,
    due_at = now() + make_interval(secs => $4)
WHERE id = $1 AND lease = $2
"""

FAIL_IF_LEASED = """
WITH run AS (
    UPDATE reconciliation_runs SET state = 'failed', finished_at = now(), due_at = NULL, lease = NULL, last_error = $3
    WHERE id = $1 AND lease = $2
    RETURNING *
)
INSERT INTO history (kind, subject, actor, correlation_id, detail)
SELECT 'reconciliation.failed', id::text, $4, correlation_id,
       jsonb_build_object('verdict', verdict, 'phase', phase, 'compared', compared)
FROM run
"""

# When the oldest mail was requested, for runs that compared nothing. IDs of outbox rows are in the order of their age.
_FIRST_MAIL = """
CASE WHEN state = 'done' AND verdict = 'incomplete' THEN least(
    (SELECT created_at FROM outbox WHERE effect = 'mail' ORDER BY id LIMIT 1),
    (SELECT min(created_at) FROM outbox_settled WHERE effect = 'mail')
) END AS first_mail_at
"""

LAST_VERDICT = f"""
SELECT r.*, extract(epoch FROM now() - r.finished_at)::float8 AS age_seconds,
       extract(epoch FROM now() - (SELECT created_at FROM users ORDER BY id LIMIT 1))::float8 AS first_user_seconds
FROM (SELECT) AS always LEFT JOIN LATERAL (
    SELECT state, verdict, window_from, window_to, last_error, started_at, finished_at, {_FIRST_MAIL}
    FROM reconciliation_runs WHERE finished_at IS NOT NULL ORDER BY id DESC LIMIT 1
) AS r ON true
"""

_RUN = f"SELECT *, {_KEPT_FROM} AS kept_from, {_FIRST_MAIL} FROM reconciliation_runs"
FIND_RUN = f"{_RUN} WHERE id = $1"
FIND_LATEST_RUN = f"{_RUN} ORDER BY id DESC LIMIT 1"
# $1 below this ID or NULL, $2 how many, newest first.
LIST_RUNS = f"{_RUN} WHERE $1::uuid IS NULL OR id < $1 ORDER BY id DESC LIMIT $2"
