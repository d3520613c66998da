"""The SQL of webhook subscribers. Each statement is one transaction; a client changes only its own subscribers."""

_SHOWN = "id, url, events, created_at, rotated_at, disabled_at, disabled_reason"
_HIDDEN = "client, key_id, secret_version"

ADD_SUBSCRIBER = f"""
WITH added AS (
    INSERT INTO webhook_subscribers (client, url, events, key_id) VALUES ($1, $2, $3, $4)
    RETURNING {_SHOWN}, {_HIDDEN}
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT 'webhook.created', id::text, ARRAY[client], $5, $6, $7, jsonb_build_object('events', events) FROM added
)
SELECT * FROM added
"""

# The previous secret signs for a day. A second rotation within that day ends it: two secrets are valid, never three.
ROTATE_IF_OWN = f"""
WITH rotated AS (
    UPDATE webhook_subscribers SET
        previous_key_id = key_id, key_id = $3, secret_version = secret_version + 1, rotated_at = now()
    WHERE client = $1 AND id = $2
    RETURNING {_SHOWN}, {_HIDDEN}
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT
        'webhook.secret_rotated', id::text, ARRAY[client], $4, $5, $6,
        jsonb_build_object('secret_version', secret_version)
    FROM rotated
)
SELECT * FROM rotated
"""

FIND_OWN = f"SELECT {_SHOWN}, client FROM webhook_subscribers WHERE client = $1 AND id = $2"

# Newest first. $2 the ID below which to begin, or NULL.
LIST_OWN = f"""
SELECT {_SHOWN} FROM webhook_subscribers WHERE client = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""

# Enabling an enabled subscriber succeeds and writes no history.
ENABLE_IF_OWN = f"""
WITH enabled AS (
    UPDATE webhook_subscribers SET
        disabled_at = NULL, disabled_reason = NULL,
        enabled_at = CASE WHEN disabled_at IS NULL THEN enabled_at ELSE now() END
    WHERE client = $1 AND id = $2
    RETURNING {", ".join(f"new.{column}" for column in f"{_SHOWN}, client".split(", "))}, old.disabled_at AS since
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
    SELECT 'webhook.enabled', id::text, ARRAY[client], $3, $4, $5, jsonb_build_object('disabled_at', since)
    FROM enabled WHERE since IS NOT NULL
)
SELECT {_SHOWN} FROM enabled
"""

DELETE_IF_OWN = """
WITH deleted AS (
    DELETE FROM webhook_subscribers WHERE client = $1 AND id = $2 RETURNING id, client
), noted AS (
    INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent)
    SELECT 'webhook.deleted', id::text, ARRAY[client], $3, $4, $5 FROM deleted
)
SELECT EXISTS (SELECT FROM deleted)
"""

# What a call needs to know of a subscriber `s`. {old} is the parameter with the seconds for which an old secret signs.
CALLED = """
s.id, s.url, s.key_id, s.secret_version, s.disabled_at,
CASE WHEN s.rotated_at > now() - make_interval(secs => {old}) THEN s.previous_key_id END AS previous_key_id
"""

FIND_SUBSCRIBERS = f"SELECT {CALLED.format(old='$2')} FROM webhook_subscribers s WHERE s.id = ANY ($1::uuid[])"

# $2 the reason, $3 the actor.
DISABLE_IF_ACTIVE = """
WITH disabled AS (
    UPDATE webhook_subscribers SET disabled_at = now(), disabled_reason = $2 WHERE id = $1 AND disabled_at IS NULL
    RETURNING id, client
)
INSERT INTO history (kind, subject, related, actor, detail)
SELECT 'webhook.disabled', id::text, ARRAY[client], $3, jsonb_build_object('reason', $2::text) FROM disabled
"""

# $2 the client, $3 the actor, $4 and $5 the correlation, $6 what was asked for and how much of it there is.
NOTE_REPLAY = """
INSERT INTO history (kind, subject, related, actor, correlation_id, traceparent, detail)
VALUES ('webhook.replayed', $1::uuid::text, ARRAY[$2::text], $3, $4, $5, $6::jsonb)
"""
