"""The use cases of users: sign up and verify. Each commits the user and every effect owed in one transaction.

No HTTP in here, and no network except the service's own database.
"""
