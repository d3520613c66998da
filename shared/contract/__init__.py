"""What clients and both services exchange: fields and their limits, mails, problems, correlation.

Pure: nothing here reads a database, a clock or the environment. Schemas of one service must not come
in; they belong in its `http/schemas.py`.
"""
