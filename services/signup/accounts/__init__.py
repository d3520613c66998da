"""What becomes of people: signing up and verifying, each in one commit with everything that is owed because of it.

No HTTP in here, and no network but the service's own database.
"""
