"""The SQL of signing up and verifying. Each statement is one transaction: all of it is committed, or nothing."""

# A row of users as the API shows it.
_USER = "id, email, name, locale, status, source, external_id, metadata, created_at, verified_at"

# A person may be mailed again: the cooldown is over, or erasure cleared it.
_COOL = "(u.last_mail_at IS NULL OR u.last_mail_at + make_interval(secs => $1) <= now())"


def owing(events: str, effects: str) -> str:
    """What each event owes beside mails: two columns that name effects (`outbox.effects.Owed`), and the subscribers."""
    return f"""(
        SELECT event, effect, '{{}}'::jsonb AS more
        FROM unnest({events}::text[], {effects}::text[]) AS registered (event, effect)
        UNION ALL
        SELECT unnest(events), 'webhook', jsonb_build_object('subscriber_id', id)
        FROM webhook_subscribers WHERE disabled_at IS NULL
    ) AS owing"""


def _said(column: str) -> str:
    """What was said now, or what stands there: `excluded` cannot tell a default from a word."""
    return f"coalesce((SELECT asked.{column} FROM asked WHERE asked.email_key = u.email_key), u.{column})"


# Any number of signups, of different addresses. New, pending and verified ones take the same way, so that an answer's
# time says no more than its body. Rows are locked in the order of their keys: two such statements never deadlock.
# RETURNING's `old` is NULL for a new row; a mail is owed exactly where `last_mail_at` was moved. Mail goes to the
# address on record, never to the spelling that was typed now.
SIGN_UP = f"""
WITH asked AS MATERIALIZED (
    SELECT * FROM unnest(
        $4::text[], $5::text[], $6::text[], $7::text[], $8::jsonb[], $9::text[], $10::bool[], $11::text[], $12::text[],
        $13::text[]
    ) AS asked (email, email_key, name, locale, metadata, source, keyed, actor, correlation_id, traceparent)
), person AS (
    INSERT INTO users AS u (email, email_key, name, locale, metadata, source, last_mail_at)
    SELECT email, email_key, name, coalesce(locale, 'en'), coalesce(metadata, '{{}}'), source, now()
    FROM asked ORDER BY email_key COLLATE "C"
    ON CONFLICT (email_key) DO UPDATE SET
        name = CASE WHEN u.status = 'pending' THEN excluded.name ELSE u.name END,
        locale = CASE WHEN u.status = 'pending' THEN {_said("locale")} ELSE u.locale END,
        metadata = CASE WHEN u.status = 'pending' THEN {_said("metadata")} ELSE u.metadata END,
        updated_at = CASE WHEN u.status = 'pending' THEN now() ELSE u.updated_at END,
        last_mail_at = CASE
            WHEN {_COOL} AND (
                u.status = 'pending' OR NOT (SELECT keyed FROM asked WHERE asked.email_key = u.email_key)
            ) THEN now() ELSE u.last_mail_at
        END
    RETURNING
        new.id, new.email, new.email_key, new.name, new.locale, new.status, new.source, new.external_id, new.metadata,
        new.created_at, new.verified_at,
        old.id IS NULL AS created,
        old.last_mail_at IS DISTINCT FROM new.last_mail_at AS mail_owed
), owed AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id, traceparent)
    SELECT
        'mail', person.id,
        jsonb_build_object(
            'to', jsonb_build_object('email', person.email, 'name', person.name), 'locale', person.locale
        )
        || CASE WHEN status = 'verified' THEN jsonb_build_object('template', 'already-registered')
           ELSE jsonb_build_object('template', 'verification', 'link', $2::jsonb) END,
        now() + make_interval(secs => $3), correlation_id, traceparent
    FROM person JOIN asked USING (email_key) WHERE mail_owed
    RETURNING id, user_id
), owed_beside AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id, traceparent)
    SELECT
        effect, person.id, jsonb_build_object('event', event) || more, now() + make_interval(secs => $3),
        correlation_id, traceparent
    FROM person JOIN asked USING (email_key) JOIN {owing("$14", "$15")}
        ON event = CASE
            WHEN created THEN 'user.signed_up' WHEN status = 'pending' OR NOT keyed THEN 'user.signed_up_again'
        END
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        CASE WHEN created THEN 'user.signed_up' ELSE 'user.signed_up_again' END,
        person.id::text, array_remove(ARRAY[owed.id::text], NULL), actor, correlation_id, traceparent,
        jsonb_build_object('status', status, 'source', asked.source, 'mail_owed', mail_owed)
    FROM person JOIN asked USING (email_key) LEFT JOIN owed ON owed.user_id = person.id
    WHERE status = 'pending' OR NOT keyed
)
SELECT {_USER}, email_key, created, mail_owed FROM person
"""

# Waits for a transaction that is using the same key now, and then finds it taken or free again.
TAKE_IDEMPOTENCY_KEY_IF_FREE = """
INSERT INTO idempotency_keys (scope, key, fingerprint) VALUES ($1, $2, $3) ON CONFLICT (scope, key) DO NOTHING
RETURNING key
"""

FIND_FIRST_ANSWER = """
SELECT fingerprint, status, answer FROM idempotency_keys WHERE scope = $1 AND key = $2
"""

KEEP_FIRST_ANSWER = """
UPDATE idempotency_keys SET status = $3, answer = $4, user_id = $5 WHERE scope = $1 AND key = $2
"""

# The row is in the outbox or, once the mail was handed over, in the ledgers behind it: one snapshot sees exactly one.
# `status` is that snapshot's; whoever lost a race reads 'pending' there without having verified, and asks again.
VERIFY_IF_PENDING = f"""
WITH mail AS (
    SELECT user_id, payload, created_at FROM outbox
    WHERE id = $1 AND effect = 'mail' AND payload ->> 'template' = 'verification'
    UNION ALL
    SELECT user_id, payload, created_at FROM outbox_settled
    WHERE id = $1 AND effect = 'mail' AND payload ->> 'template' = 'verification'
), found AS (
    SELECT
        user_id,
        created_at + make_interval(secs => (payload -> 'link' ->> 'ttl_seconds')::float8) <= now() AS expired
    FROM mail
), verified AS (
    UPDATE users AS u SET status = 'verified', verified_at = now(), updated_at = now()
    FROM found WHERE u.id = found.user_id AND u.status = 'pending' AND NOT found.expired
    RETURNING u.id, u.email, u.name, u.locale
), owed AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id, traceparent)
    SELECT
        'mail', id,
        jsonb_build_object(
            'template', 'welcome', 'to', jsonb_build_object('email', email, 'name', name), 'locale', locale
        ),
        now() + make_interval(secs => $2), $4, $5
    FROM verified
    RETURNING id
), owed_beside AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id, traceparent)
    SELECT
        effect, verified.id, jsonb_build_object('event', event) || more, now() + make_interval(secs => $2), $4, $5
    FROM verified JOIN {owing("$6", "$7")} ON event = 'user.verified'
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent)
    SELECT 'user.verified', id::text, ARRAY[($1::uuid)::text] || ARRAY(SELECT owed.id::text FROM owed), $3, $4, $5
    FROM verified
)
SELECT users.id AS user_id, users.status, found.expired, EXISTS (SELECT FROM verified) AS verified
FROM found JOIN users ON users.id = found.user_id
"""

# History gets its entry for unknown addresses too: a commit takes time, and time must not say who is signed up.
RESEND_IF_PENDING_AND_COOL = f"""
WITH person AS (
    UPDATE users AS u SET last_mail_at = now()
    WHERE u.email_key = $2 AND u.status = 'pending' AND {_COOL}
    RETURNING u.id, u.email, u.name, u.locale
), owed AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id, traceparent)
    SELECT
        'mail', id,
        jsonb_build_object(
            'template', 'verification', 'link', $3::jsonb,
            'to', jsonb_build_object('email', email, 'name', name), 'locale', locale
        ),
        now() + make_interval(secs => $4), $6, $7
    FROM person
    RETURNING id
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        'verification.resend_asked', coalesce((SELECT id::text FROM person), 'nobody'),
        ARRAY(SELECT owed.id::text FROM owed), $5, $6, $7,
        jsonb_build_object('mail_owed', EXISTS (SELECT FROM person))
)
SELECT EXISTS (SELECT FROM person)
"""

FIND_USER = f"SELECT {_USER} FROM users WHERE id = $1"
