"""The SQL of webhook subscribers. Each statement is one transaction and touches only the client's own subscribers."""

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

FIND_OWN = f"SELECT {_SHOWN} FROM webhook_subscribers WHERE client = $1 AND id = $2"

# Enabling an enabled subscriber succeeds and writes no history.
ENABLE_IF_OWN = f"""
WITH enabled AS (
    UPDATE webhook_subscribers SET disabled_at = NULL, disabled_reason = NULL WHERE client = $1 AND id = $2
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
