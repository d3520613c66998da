"""The SQL of what each gateway answered to its recent recipients (ADR 0024)."""

# $1 gateway; of its recipients: $2 hashes, $3 domains, $4 whether refused, $5 seconds ago; $6 domains of which it has
# accepted a recipient. Keeps the newest: more refusals than acceptances, because domains are judged by them.
RECORD_RECIPIENTS = """
WITH written AS (
    INSERT INTO gateway_recipients AS r (gateway, recipient, domain, refused, at)
    SELECT $1, g.recipient, g.domain, g.refused, clock_timestamp() - make_interval(secs => g.age)
    FROM unnest($2::bytea[], $3::text[], $4::bool[], $5::float8[]) AS g (recipient, domain, refused, age)
    ORDER BY g.recipient
    ON CONFLICT (gateway, recipient) DO UPDATE
        SET refused = excluded.refused, domain_accepted = false, at = excluded.at WHERE r.at <= excluded.at
),
accepting AS (
    UPDATE gateway_recipients SET domain_accepted = true
    WHERE gateway = $1 AND recipient = ANY(ARRAY(
        SELECT recipient FROM gateway_recipients
        WHERE gateway = $1 AND refused AND NOT domain_accepted AND domain = ANY($6::text[]) AND recipient <> ALL($2)
        ORDER BY recipient FOR UPDATE SKIP LOCKED
    ))
)
DELETE FROM gateway_recipients
WHERE gateway = $1 AND recipient = ANY(ARRAY(
    SELECT r.recipient FROM gateway_recipients r JOIN (
        SELECT recipient, at, refused, row_number() OVER (PARTITION BY refused ORDER BY at DESC) AS n
        FROM gateway_recipients WHERE gateway = $1
    ) AS ranked USING (recipient)
    WHERE r.gateway = $1 AND r.recipient <> ALL($2)
      AND (ranked.n > CASE WHEN ranked.refused THEN 200 ELSE 40 END OR ranked.at < now() - interval '1 day')
    ORDER BY r.recipient FOR UPDATE OF r SKIP LOCKED
))
"""

# Newest first. $1 gateway.
RECENT_RECIPIENTS = """
SELECT domain, refused, domain_accepted FROM gateway_recipients
WHERE gateway = $1 AND at > now() - interval '1 day' ORDER BY at DESC
"""
