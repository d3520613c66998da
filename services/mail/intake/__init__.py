"""Taking mails in: fingerprint, rendering, and the one statement that accepts."""
