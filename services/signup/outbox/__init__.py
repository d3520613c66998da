"""Effects that are owed because of what users did, and the relay that performs them. Each succeeds or fails alone (P3).

Claim, commit, call, commit: no transaction is open across a network call. The lease that the claim sets fences every
later write.
"""
