"""The mail API on a database of its own, as the tests of the ledger have it."""

from tests.integration.mail.conftest import client, mail_api

__all__ = ["client", "mail_api"]
