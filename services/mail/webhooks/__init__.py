"""Tells a client's webhook subscribers what happens to its mails, from history in the order of the change feed."""
