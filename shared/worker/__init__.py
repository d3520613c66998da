"""Parts of a worker process: loops, arq beside them, wake-ups, heartbeats, the circuit breaker, backoff.

The work of a loop belongs to its service and must not come in. Nothing here keeps state outside PostgreSQL.
"""
