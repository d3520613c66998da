"""Notices about sent mails: parses and ingests delivery status notifications and complaints."""
