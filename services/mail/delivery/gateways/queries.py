"""The SQL of what workers share about a gateway: its rate, and who is connected to it."""

# Whether another worker's heartbeat of the last 15 s, three beats, shows connections to a gateway. $1 the kind of
# worker, $2 this worker's own heartbeat, $3 the gateway.
OTHER_WORKER_IS_CONNECTED = """
SELECT EXISTS (
    SELECT FROM heartbeats
    WHERE process LIKE $1::text || '/%' AND process <> $2 AND at > now() - interval '15 seconds'
      AND jsonb_path_exists(
          detail, '$.gateways[*] ? (@.name == $name && @.connections_open > 0)',
          jsonb_build_object('name', $3::text)
      )
)
"""

# $1 gateway, $2 seconds that the reserved turns take together. Returns when the first turn is, and in how many seconds.
# Unused turns are lost: an idle gateway has its next turn now, however long it was idle.
RESERVE_TURNS = """
INSERT INTO gateway_rates AS r (gateway, next_at)
VALUES ($1, clock_timestamp() + make_interval(secs => $2::float8))
ON CONFLICT (gateway) DO UPDATE
    SET next_at = greatest(r.next_at, clock_timestamp()) + make_interval(secs => $2::float8)
RETURNING next_at - make_interval(secs => $2::float8) AS first_at,
          extract(epoch FROM next_at - clock_timestamp())::float8 - $2::float8 AS wait_seconds
"""
