"""The SQL of accepting mails. Each statement is one transaction and one round trip."""

from ..ledger.mail_resource import COLUMNS

# The time in an ID is the database's, as `accepted_at` is: lists by time begin and end at IDs.
_GIVEN = """
given AS MATERIALIZED (
    SELECT uuidv7() AS id, g.* FROM json_to_recordset($2::json) AS g (
        request_id text, fingerprint text, to_email text, to_key text, to_name text, template text,
        template_version text, locale text, tags text[], metadata jsonb, on_uncertain text, lane text,
        send_at timestamptz, expires_at timestamptz, correlation_id text, traceparent text,
        related text[], request jsonb, sender_email text, sender_name text, reply_to_email text, reply_to_name text,
        subject text, "text" text, html text, headers jsonb
    )
)"""

# $1 client, $2 the mails as a JSON array, $3 default lifetime in seconds, $4 actor, $5 the domain of Message-IDs.
# New request IDs get a mail, its content, a queue row and a history entry, all in this statement. Known ones are left
# alone and not returned. The statement waits for a concurrent request with the same ID.
# The request ID of a mail whose row was deleted stays known unless the mail was waiting. A mail that was being sent may
# have left (P5): it is accepted again only with the same content and the policy `resend`.
ACCEPT_NEW = f"""
WITH {_GIVEN}, m AS (
    INSERT INTO mails (
        id, client, request_id, fingerprint, state, to_email, to_key, to_name, template, template_version, locale,
        tags, metadata, on_uncertain, lane, message_id, send_at, next_attempt_at, expires_at, failure_reason,
        correlation_id, traceparent
    )
    SELECT g.id, $1, g.request_id, decode(g.fingerprint, 'hex'),
           CASE WHEN s.email_key IS NULL THEN 'queued' ELSE 'suppressed' END,
           g.to_email, g.to_key, g.to_name, g.template, g.template_version, g.locale, g.tags, g.metadata,
           g.on_uncertain, g.lane, format('<%s@%s>', g.id, $5::text), g.send_at,
           CASE WHEN s.email_key IS NULL THEN greatest(now(), g.send_at) END,
           -- The last time that RFC 3339 can write.
           coalesce(g.expires_at, least(greatest(now(), g.send_at) + make_interval(secs => $3),
                                        '9999-12-31 23:59:59.999999+00')),
           s.reason, g.correlation_id, g.traceparent
    FROM given g
    LEFT JOIN suppressions s ON s.email_key = g.to_key AND (s.ends_at IS NULL OR s.ends_at > now())
    -- One primary-key lookup per mail; a join would read all lost mails.
    WHERE (
        SELECT true FROM lost_mails l
        WHERE l.request_id = g.request_id AND l.client = $1 AND l.state NOT IN ('queued', 'deferred')
          AND NOT (
              l.state = 'sending' AND g.on_uncertain = 'resend' AND l.fingerprint = decode(g.fingerprint, 'hex')
          )
    ) IS NULL
    -- One order for all requests: two batches with the same IDs wait for each other instead of deadlocking.
    ORDER BY g.request_id
    ON CONFLICT (client, request_id) DO NOTHING
    RETURNING *
), content_rows AS (
    INSERT INTO contents (
        mail_id, request, sender_email, sender_name, reply_to_email, reply_to_name, subject, text, html, headers
    )
    SELECT g.id, g.request, g.sender_email, g.sender_name, g.reply_to_email, g.reply_to_name, g.subject, g.text,
           g.html, g.headers
    FROM given g JOIN m USING (id)
), queued AS (
    INSERT INTO queue (mail_id, lane, due_at) SELECT id, lane, next_attempt_at FROM m WHERE state = 'queued'
), logged AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT CASE m.state WHEN 'queued' THEN 'mail.accepted' ELSE 'mail.suppressed' END, m.id::text, g.related, $4,
           m.correlation_id, m.traceparent, jsonb_build_object('state', m.state, 'template', m.template, 'lane', m.lane)
    FROM m JOIN given g USING (id)
)
SELECT {COLUMNS} FROM m JOIN given c USING (id)
"""  # `c` is the given content: the row is not visible yet in the statement that writes it

# $1 client, $2 request IDs. Returns the stored request too, to name the fields that differ.
FIND_BY_REQUEST_ID = f"""
SELECT {COLUMNS}, c.request::text AS request
FROM mails m LEFT JOIN contents c ON c.mail_id = m.id
WHERE m.client = $1 AND m.request_id = ANY($2::text[])
"""

# $1 client, $2 the mails as above, $3 actor. Restores mails whose rows were deleted when they are asked for again: in
# their old state, under their old ID, without sending. Only with the same content, because the original is gone.
# A mail that was being sent becomes `uncertain`, with its content, so that an operator can have it sent.
WRITE_BACK_LOST = f"""
WITH {_GIVEN}, m AS (
    INSERT INTO mails (
        id, client, request_id, fingerprint, state, to_email, to_key, to_name, template, template_version, locale,
        tags, metadata, on_uncertain, lane, message_id, restored_message_id, accepted_at, send_at, sent_at,
        expires_at, failure_reason, restored, correlation_id, traceparent
    )
    SELECT l.mail_id, $1, g.request_id, l.fingerprint,
           CASE l.state WHEN 'sending' THEN 'uncertain' ELSE l.state END, g.to_email, g.to_key, g.to_name, g.template,
           g.template_version, g.locale, g.tags, g.metadata, g.on_uncertain, g.lane, l.message_id, l.message_id,
           l.accepted_at,
           g.send_at, l.sent_at, coalesce(g.expires_at, now()),
           CASE WHEN l.state IN ('failed', 'bounced', 'uncertain') THEN 'its record was lost'
                WHEN l.state = 'sending' THEN 'its record was lost while it was being sent' END,
           true, g.correlation_id, g.traceparent
    FROM given g
    JOIN lost_mails l ON l.request_id = g.request_id AND l.client = $1 AND l.fingerprint = decode(g.fingerprint, 'hex')
    ORDER BY g.request_id
    ON CONFLICT DO NOTHING
    RETURNING id, request_id, state, correlation_id, traceparent
), content_rows AS (
    INSERT INTO contents (
        mail_id, request, sender_email, sender_name, reply_to_email, reply_to_name, subject, text, html, headers
    )
    SELECT m.id, g.request, g.sender_email, g.sender_name, g.reply_to_email, g.reply_to_name, g.subject, g.text,
           g.html, g.headers
    FROM given g JOIN m USING (request_id) WHERE m.state = 'uncertain'
)
INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
SELECT 'mail.restored', m.id::text, g.related, $3, m.correlation_id, m.traceparent, jsonb_build_object('state', m.state)
FROM m JOIN given g USING (request_id)
"""

# Mails that this transaction wrote for requests with attachments: with content, and without attachments yet. A mail
# with the same fingerprint that was there before has them. $1 client, $2 request IDs, $3 their fingerprints.
FIND_UNATTACHED = """
SELECT m.id, m.request_id
FROM unnest($2::text[], $3::bytea[]) AS g (request_id, fingerprint)
JOIN mails m ON m.client = $1 AND m.request_id = g.request_id AND m.fingerprint = g.fingerprint
WHERE EXISTS (SELECT FROM contents c WHERE c.mail_id = m.id)
  AND NOT EXISTS (SELECT FROM attachments a WHERE a.mail_id = m.id)
"""

FIND_BLOBS = "SELECT sha256 FROM attachment_blobs WHERE sha256 = ANY($1::bytea[])"

STORE_BLOB = "INSERT INTO attachment_blobs (sha256, bytes) VALUES ($1, $2) ON CONFLICT DO NOTHING"

# $1 the attachments as a JSON array. A foreign key violation: the bytes were deleted since they were found.
ATTACH = """
INSERT INTO attachments (mail_id, n, sha256, filename, content_type, content_id, size)
SELECT g.mail_id, g.n, decode(g.sha256, 'hex'), g.filename, g.content_type, g.content_id, g.size
FROM json_to_recordset($1::json) AS g (
    mail_id uuid, n smallint, sha256 text, filename text, content_type text, content_id text, size integer
)
"""
