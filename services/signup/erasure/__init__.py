"""Erasing a user here in one commit, and what else that owes; pending users who never answered go the same way."""
