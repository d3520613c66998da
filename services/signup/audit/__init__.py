"""What must never be in the signup ledger, what wakes the operators, and what happened to one person."""
