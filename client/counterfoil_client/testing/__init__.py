"""A mail service for the tests of an application: in memory, without PostgreSQL and SMTP, with the same contract.

What it keeps of the contract is tested against the real service with the same tests. It sends nothing and renders
nothing; `deliver` and `settle` decide what happens to a mail.
"""

from .fake_mail_service import FakeMailService
from .templates import FakeTemplate

__all__ = ["FakeMailService", "FakeTemplate"]
