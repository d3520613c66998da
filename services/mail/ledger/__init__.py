"""Reading the ledger: mails, what happened to them, each attempt."""
