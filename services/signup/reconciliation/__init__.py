"""Compares both ledgers: follows the change feed, finds differences, and repairs those that are safe to repair."""
