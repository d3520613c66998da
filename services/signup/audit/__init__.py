"""Sanity checks of the signup ledger, alerts for operators, metrics, and the timeline of one user."""
