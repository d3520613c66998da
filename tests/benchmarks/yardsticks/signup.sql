-- The rows of one signup: the user, the owed mail, the statistics and profile effects (the default of SIGNUP_EFFECTS),
-- the history entry. One statement, one commit.
WITH person AS (
    INSERT INTO users (email, email_key, name, source, last_mail_at)
    SELECT address, address, 'Åsa Öberg', 'web', now()
    FROM (SELECT 'pgbench-' || gen_random_uuid() || '@bench.example' AS address)
    RETURNING id, email, name, locale, status
), owed AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id)
    SELECT 'mail', id,
           jsonb_build_object(
               'to', jsonb_build_object('email', email, 'name', name), 'locale', locale, 'template', 'verification',
               'link', jsonb_build_object('base', 'https://bench.example', 'key_id', '0a1b2c3d', 'ttl_seconds', 259200)
           ),
           now() + interval '7 days', gen_random_uuid()::text
    FROM person
    RETURNING id, user_id
), owed_beside AS (
    INSERT INTO outbox (effect, user_id, payload, expires_at, correlation_id)
    SELECT effect, id, jsonb_build_object('event', 'user.signed_up'), now() + interval '7 days', gen_random_uuid()::text
    FROM person CROSS JOIN (VALUES ('stats'), ('cache')) AS effects (effect)
)
INSERT INTO history (kind, subject, related, actor, correlation_id, detail)
SELECT 'user.signed_up', person.id::text, ARRAY[owed.id::text], 'anonymous', gen_random_uuid()::text,
       jsonb_build_object('status', status, 'source', 'web', 'mail_owed', true)
FROM person JOIN owed ON owed.user_id = person.id;
