"""What is owed because of what people did, and who works it off. Each effect succeeds or fails alone (P3).

Claim, commit, call, commit: no transaction is open across a network call, and every write after the claim is fenced by
the lease that the claim set.
"""
