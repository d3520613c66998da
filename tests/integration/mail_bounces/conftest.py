"""The mail API on its own database, as in the tests of the ledger."""

from tests.integration.mail.conftest import client, mail_api

__all__ = ["client", "mail_api"]
