"""Reading the book: mails, what happened to them, each attempt."""
