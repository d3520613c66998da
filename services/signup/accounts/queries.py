"""The SQL of signing up and verifying. Each statement is one transaction."""

from .stranger_mails import DUE_AT, WAITS_UNTIL, budget, counting, may_cause_mail
from .used_challenges import spending

# The columns of users that the API shows.
_USER = "id, email, name, locale, status, source, external_id, metadata, created_at, verified_at"

# A caller with a key may have the user mailed again: the cooldown is over, or erasure cleared it.
_COOLDOWN_OVER = "(u.last_mail_at IS NULL OR u.last_mail_at + make_interval(secs => $1) <= now())"


def owing(events: str, effects: str) -> str:
    """The effects each event owes besides mails: those of two columns (`effect_registry.Owed`), and the webhooks."""
    return f"""(
        SELECT event, effect, '{{}}'::jsonb AS more
        FROM unnest({events}::text[], {effects}::text[]) AS registered (event, effect)
        UNION ALL
        SELECT unnest(events), 'webhook', jsonb_build_object('subscriber_id', id)
        FROM webhook_subscribers WHERE disabled_at IS NULL
    ) AS owing"""


# This signup, of a stranger or of a caller with a key, causes a mail to a user who exists.
_STRANGER_CAUSES_MAIL = f"NOT excluded.written_by_key AND {may_cause_mail('$1::float8', '$16::int')}"
_KEY_CAUSES_MAIL = f"excluded.written_by_key AND u.status = 'pending' AND {_COOLDOWN_OVER}"

# A signup may change this user: the caller has a key, and the user is pending.
_MAY_CHANGE = "u.status = 'pending' AND excluded.written_by_key"


def _given_or_stored(column: str) -> str:
    """The request's value, or the stored one: `excluded` cannot tell a default from a given value."""
    return f"coalesce((SELECT asked.{column} FROM asked WHERE asked.email_key = u.email_key), u.{column})"


# The names of the fields that an UPDATE of users changed, for history, which holds no values. Empty for a new row.
_CHANGED = """
        array_remove(ARRAY[
            CASE WHEN old.name <> new.name THEN 'name' END, CASE WHEN old.locale <> new.locale THEN 'locale' END,
            CASE WHEN old.metadata <> new.metadata THEN 'metadata' END
        ], NULL) AS changed"""


# Any number of signups with distinct addresses. New, pending and verified addresses take the same path, so that the
# response time reveals no more than the body. Rows are locked in key order: two such statements never deadlock.
# RETURNING's `old` is NULL for a new row. A mail is owed exactly where `last_mail_at` changed. Mail goes to the stored
# address, never to the spelling in the request.
#
# Only a caller with a key changes a pending user. An anonymous repetition holds its details in the payload of the mail
# that it owes, for VERIFY_IF_PENDING, unless a key or an import wrote the user: then it holds nothing (ADR 0020).
# `excluded.written_by_key` is whether this caller has a key. $16 and $17: how many mails strangers may cause to one
# address in a day, and to all together in an hour; 0: any number.
# Where none is owed, history says so: who asks why no mail came finds it, and the statement writes as many rows.
# A signup whose challenge was used before is not `asked`: it writes nothing and has no row in the result (ADR 0029).
def _sign_up(given: str, used: str = "") -> str:
    return f"""
WITH {given} AS MATERIALIZED (
    SELECT * FROM unnest(
        $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::text[], $10::bool[], $11::text[], $12::text[],
        $13::text[], $18::text[], $19::bytea[]
    ) AS each (
        email, email_key, name, locale, metadata, source, keyed, actor, correlation_id, traceparent, return_to,
        challenge
    )
){used}, person AS (
    INSERT INTO users AS u (
        email, email_key, name, locale, metadata, source, written_by_key, last_mail_at, stranger_mails, mails_in_window,
        window_began_at
    )
    SELECT email, email_key, name, coalesce(locale, 'en'), coalesce(metadata, '{{}}'), source, keyed, now(),
           CASE WHEN keyed THEN 0 ELSE 1 END, CASE WHEN keyed THEN 0 ELSE 1 END, CASE WHEN NOT keyed THEN now() END
    FROM asked ORDER BY email_key COLLATE "C"
    ON CONFLICT (email_key) DO UPDATE SET
        name = CASE WHEN {_MAY_CHANGE} THEN excluded.name ELSE u.name END,
        locale = CASE WHEN {_MAY_CHANGE} THEN {_given_or_stored("locale")} ELSE u.locale END,
        metadata = CASE WHEN {_MAY_CHANGE} THEN {_given_or_stored("metadata")} ELSE u.metadata END,
        written_by_key = u.written_by_key OR ({_MAY_CHANGE}),
        updated_at = CASE WHEN {_MAY_CHANGE} THEN now() ELSE u.updated_at END,
        last_mail_at = CASE
            WHEN ({_KEY_CAUSES_MAIL}) OR ({_STRANGER_CAUSES_MAIL}) THEN now() ELSE u.last_mail_at
        END,{counting(_STRANGER_CAUSES_MAIL)}
    RETURNING
        new.id, new.email, new.email_key, new.name, new.locale, new.status, new.source, new.external_id, new.metadata,
        new.created_at, new.verified_at,
        old.id IS NULL AS created,
        new.last_mail_at, old.last_mail_at IS DISTINCT FROM new.last_mail_at AS mail_owed,
        old.status = 'pending' AND NOT new.written_by_key AS details_held,{_CHANGED}
), {budget("SELECT count(*) FROM person JOIN asked USING (email_key) WHERE mail_owed AND NOT keyed", "$17::int")},
owed AS (
    INSERT INTO outbox (effect, user_id, due_at, expires_at, payload, correlation_id, traceparent)
    SELECT
        'mail', person.id,
        CASE WHEN keyed THEN now() ELSE {DUE_AT} END,
        CASE WHEN keyed THEN now() ELSE {DUE_AT} END + make_interval(secs => $3),
        jsonb_build_object(
            'to', jsonb_build_object('email', person.email, 'name', person.name), 'locale', person.locale
        )
        || CASE
            WHEN status = 'verified' THEN jsonb_build_object('template', 'already-registered') || ($2::jsonb - 'link')
            -- The right operand of || wins: this mail greets with the details that its link confirms.
            WHEN details_held THEN $2::jsonb || jsonb_build_object(
                'template', 'verification',
                'to', jsonb_build_object('email', person.email, 'name', asked.name),
                'locale', coalesce(asked.locale, 'en'),
                'details', jsonb_build_object(
                    'name', asked.name, 'locale', coalesce(asked.locale, 'en'),
                    'metadata', coalesce(asked.metadata, '{{}}')
                )
            )
            ELSE jsonb_build_object('template', 'verification') || $2::jsonb
        END
        || CASE WHEN asked.return_to IS NULL THEN '{{}}' ELSE jsonb_build_object('return_to', asked.return_to) END
        || CASE WHEN keyed THEN '{{}}' ELSE {WAITS_UNTIL} END,
        correlation_id, traceparent
    FROM person JOIN asked USING (email_key) WHERE mail_owed
    UNION ALL
    SELECT
        effect, person.id, now(), now() + make_interval(secs => $3), jsonb_build_object('event', event) || more,
        correlation_id, traceparent
    FROM person JOIN asked USING (email_key) JOIN {owing("$14", "$15")}
        ON event = CASE
            WHEN created THEN 'user.signed_up' WHEN status = 'pending' OR NOT keyed THEN 'user.signed_up_again'
        END
    RETURNING id, user_id, effect
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        CASE WHEN created THEN 'user.signed_up' ELSE 'user.signed_up_again' END,
        person.id::text, array_remove(ARRAY[owed.id::text], NULL), actor, correlation_id, traceparent,
        CASE
            WHEN created
                THEN jsonb_build_object('status', status, 'source', asked.source, 'mail_owed', mail_owed)
            ELSE jsonb_build_object(
                'status', status, 'source', asked.source, 'mail_owed', mail_owed, 'changed', changed
            )
        END
    FROM person JOIN asked USING (email_key) LEFT JOIN owed ON owed.user_id = person.id AND owed.effect = 'mail'
    WHERE status = 'pending' OR NOT keyed
    UNION ALL
    SELECT
        'user.mail_withheld', person.id::text, ARRAY[]::text[], actor, correlation_id, traceparent,
        jsonb_build_object('status', status, 'last_mail_at', last_mail_at)
    FROM person JOIN asked USING (email_key) WHERE NOT mail_owed AND (status = 'pending' OR NOT keyed)
)
SELECT {_USER}, email_key, created, mail_owed FROM person
"""


# For signups without a challenge. The insertion of none is a tenth of the statement for one signup.
SIGN_UP = _sign_up("asked")
SIGN_UP_IF_CHALLENGES_ARE_UNUSED = _sign_up(
    "given",
    f""", {spending("SELECT challenge FROM given WHERE challenge IS NOT NULL ORDER BY challenge")},
asked AS MATERIALIZED (
    SELECT * FROM given WHERE challenge IS NULL OR challenge IN (SELECT id FROM spent)
)""",
)

# Waits for a concurrent transaction with the same key, then finds the key taken or free.
TAKE_IDEMPOTENCY_KEY_IF_FREE = """
INSERT INTO idempotency_keys (scope, key, fingerprint) VALUES ($1, $2, $3) ON CONFLICT (scope, key) DO NOTHING
RETURNING key
"""

FIND_STORED_ANSWER = """
SELECT fingerprint, status, answer FROM idempotency_keys WHERE scope = $1 AND key = $2
"""

STORE_ANSWER = """
UPDATE idempotency_keys SET status = $3, answer = $4, user_id = $5 WHERE scope = $1 AND key = $2
"""

# The details held beside the link, unless a key wrote the user in the meantime (ADR 0020).
_DETAILS_OF_LINK = "(CASE WHEN NOT u.written_by_key THEN found.details END)"

# The row is in the outbox or, once delivered, in outbox_settled: one snapshot sees exactly one of the two. `status` is
# from that snapshot too: a request that lost a race reads 'pending' there with `verified` false, and runs this again.
VERIFY_IF_PENDING = f"""
WITH mail AS (
    SELECT user_id, payload, created_at FROM outbox
    WHERE id = $1 AND effect = 'mail' AND payload ->> 'template' = 'verification'
    UNION ALL
    SELECT user_id, payload, created_at FROM outbox_settled
    WHERE id = $1 AND effect = 'mail' AND payload ->> 'template' = 'verification'
), found AS (
    SELECT
        user_id, payload -> 'details' AS details,
        created_at + make_interval(secs => (payload -> 'link' ->> 'ttl_seconds')::float8) <= now() AS expired
    FROM mail
), verified AS (
    UPDATE users AS u SET
        status = 'verified', verified_at = now(), updated_at = now(), stranger_mails = 0,
        name = coalesce({_DETAILS_OF_LINK} ->> 'name', u.name),
        locale = coalesce({_DETAILS_OF_LINK} ->> 'locale', u.locale),
        metadata = coalesce({_DETAILS_OF_LINK} -> 'metadata', u.metadata)
    FROM found WHERE u.id = found.user_id AND u.status = 'pending' AND NOT found.expired
    RETURNING new.id, new.email, new.name, new.locale,{_CHANGED}
), owed AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id, traceparent)
    SELECT
        'mail', id,
        jsonb_build_object(
            'template', 'welcome', 'to', jsonb_build_object('email', email, 'name', name), 'locale', locale
        ) || ($8::jsonb - 'link'),
        now() + make_interval(secs => $2), $4, $5
    FROM verified
    RETURNING id
), owed_beside AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id, traceparent)
    SELECT
        effect, verified.id, jsonb_build_object('event', event) || more, now() + make_interval(secs => $2), $4, $5
    FROM verified JOIN {owing("$6", "$7")} ON event = 'user.verified'
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        'user.verified', id::text, ARRAY[($1::uuid)::text] || ARRAY(SELECT owed.id::text FROM owed), $3, $4, $5,
        jsonb_build_object('changed', changed)
    FROM verified
)
SELECT users.id AS user_id, users.status, found.expired, EXISTS (SELECT FROM verified) AS verified
FROM found JOIN users ON users.id = found.user_id
"""

# The link of this mail holds no details: it confirms the user as stored. Unknown addresses get a history
# entry too: the time of a commit must not reveal which addresses are signed up. $8 and $9 as $16 and $17 of SIGN_UP.
# $10 is the solved challenge, or NULL: when it was used before, there is no row.
RESEND_IF_PENDING_AND_STRANGER_MAY_CAUSE_MAIL = f"""
WITH {spending("SELECT $10::bytea WHERE $10::bytea IS NOT NULL")},
accepted AS MATERIALIZED (SELECT WHERE $10::bytea IS NULL OR EXISTS (SELECT FROM spent)),
person AS (
    UPDATE users AS u SET last_mail_at = now(),{counting("true")}
    FROM accepted
    WHERE u.email_key = $2 AND u.status = 'pending' AND {may_cause_mail("$1::float8", "$8::int")}
    RETURNING u.id, u.email, u.name, u.locale
), {budget("SELECT count(*) FROM person", "$9::int")},
owed AS (
    INSERT INTO outbox (effect, user_id, payload, due_at, expires_at, correlation_id, traceparent)
    SELECT
        'mail', id,
        jsonb_build_object(
            'template', 'verification', 'to', jsonb_build_object('email', email, 'name', name), 'locale', locale
        ) || $3::jsonb || {WAITS_UNTIL},
        {DUE_AT}, {DUE_AT} + make_interval(secs => $4), $6, $7
    FROM person
    RETURNING id
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        'verification.resend_asked', coalesce((SELECT id::text FROM person), 'unknown'),
        ARRAY(SELECT owed.id::text FROM owed), $5, $6, $7,
        jsonb_build_object('mail_owed', EXISTS (SELECT FROM person))
    FROM accepted
)
SELECT EXISTS (SELECT FROM person) AS mail_owed FROM accepted
"""

# Where the page of a link leads back to, when its signup said so. The row is in one of the two, as above.
FIND_RETURN_URL = """
SELECT payload ->> 'return_to' FROM outbox WHERE id = $1
UNION ALL
SELECT payload ->> 'return_to' FROM outbox_settled WHERE id = $1
LIMIT 1
"""

FIND_USER = f"SELECT {_USER} FROM users WHERE id = $1"
