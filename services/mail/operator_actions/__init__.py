"""What people do to mails: cancel, retry, resolve; and writing back what a lost book knew, in guarded statements."""
