"""What must never be in the mail ledger, what wakes the operators, and what Prometheus sees of the stages."""
