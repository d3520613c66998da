"""Webhooks as Standard Webhooks says (standardwebhooks.com): subscribers, their secrets, the signed call, the log.

Which events there are, and where a service keeps what it owes its subscribers, must not come in.
"""
