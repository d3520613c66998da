"""What crosses the wire between clients and both services: fields and their limits, mails, problems, correlation.

Pure: nothing here reads a database, a clock or the environment. What only one service says to its own clients must not
come in; it belongs in that service's `http/schemas.py`.
"""
