"""Reads the ledger: mails, history, attempts, the change feed. Also suppressions and retention."""
