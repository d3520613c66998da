"""Finds faults and notifies the operators: sanity checks, incidents, the alert loop, alert mails and reports.

Single checks and alerts must not come in: each service lists its own in `audit/`.
"""
