"""SQL of providers' events. What an event does to a mail is the statement of a notice (`bounces/queries.py`)."""

# One row: the body that the token came with first. $1 token, $2 body, $3 seconds after which a token can no longer be
# valid. The update changes nothing and returns the row of a concurrent call, which DO NOTHING would not. Each call
# deletes more old tokens than it adds.
REMEMBER_FIRST_BODY = """
WITH forgotten AS (
    DELETE FROM provider_event_tokens WHERE token = ANY(ARRAY(
        SELECT token FROM provider_event_tokens
        WHERE seen_at < now() - make_interval(secs => $3::float8) AND token <> $1
        ORDER BY seen_at LIMIT 10 FOR UPDATE SKIP LOCKED
    ))
)
INSERT INTO provider_event_tokens AS t (token, body) VALUES ($1::bytea, $2::bytea)
ON CONFLICT (token) DO UPDATE SET seen_at = t.seen_at
RETURNING body
"""
