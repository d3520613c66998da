"""The SQL of keys by which gateways deduplicate (ADR 0033): pieces of the statements in `queries.py`."""

# Of the mail `m`; as `deduplication.key_of` writes it.
_KEY = "m.id::text || CASE WHEN m.resends > 0 THEN '-' || m.resends ELSE '' END"

# What the gateways know of the current key of the mail `m`: a JSON array, or NULL. Attempts are read only where
# {condition} holds: most mails have none, and an expression that is not evaluated costs nothing.
KEY_USES = f"""
CASE WHEN {{condition}} THEN (
    SELECT jsonb_agg(jsonb_build_object('gateway', gateway, 'line', line, 'ask_until', ask_until, 'unknown', unknown))
    FROM (
        SELECT e.gateway, e.idempotency_header AS line, min(e.ask_until) AS ask_until,
               count(*) FILTER (WHERE e.outcome = 'unknown') AS unknown
        FROM attempts e WHERE e.mail_id = m.id AND split_part(e.idempotency_header, ': ', 2) = {_KEY}
        GROUP BY e.gateway, e.idempotency_header
    ) AS used
) END
"""

# Whether a gateway was asked about an unknown outcome, by `w.key_uses`, and cannot be asked any more.
ASKING_IS_OVER = """
w.key_uses IS NOT NULL AND EXISTS (
    SELECT FROM jsonb_array_elements(w.key_uses) AS u
    WHERE (u ->> 'unknown')::int > 0 AND (u ->> 'ask_until')::timestamptz <= now()
)
"""

# Whether the mail `m`, of policy `hold`, has had no answer for as long as it could be asked again.
NOT_ANSWERED_IN_TIME = f"""
m.on_uncertain = 'hold' AND m.attempts > 0 AND coalesce((
    SELECT true FROM attempts e
    WHERE e.mail_id = m.id AND e.outcome = 'unknown' AND e.ask_until <= now()
      AND split_part(e.idempotency_header, ': ', 2) = {_KEY}
    LIMIT 1
), false)
"""
