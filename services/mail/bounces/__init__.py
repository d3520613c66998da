"""Notices about sent mails: parses and ingests standard reports, complaints, and mail systems' own words."""
