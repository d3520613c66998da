"""What a worker process is made of: loops, arq beside them, wake-ups, heartbeats, the circuit breaker, backoff.

What a loop does must not come in: that is the service's. Nothing here keeps state outside PostgreSQL.
"""
