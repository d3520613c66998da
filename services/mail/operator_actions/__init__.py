"""What people do to mails: cancel, retry, resolve; and writing back what a lost ledger knew, in guarded statements."""
