"""Operator actions on mails, in guarded statements: cancel, retry, resolve, erase, restore."""
