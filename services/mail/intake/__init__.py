"""Ingest mails: fingerprint, rendering, and the one statement that accepts them."""
