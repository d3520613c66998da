"""A service's own PostgreSQL: pools, the tables that both databases have, history, and the API key store.

Tables and statements of one service must not come in; they belong in its `tables.py` and `queries.py`.
"""
