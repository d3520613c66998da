"""What finds faults and tells the operators: sanity checks, incidents, the alert loop, alert mails and reports.

Which checks and alerts there are must not come in: each service lists its own in `audit/`.
"""
