"""Sanity checks of the mail ledger, alerts, and the SQL of health and stage metrics."""
