"""The tests: each folder is one kind; `support/` holds what several kinds need."""
