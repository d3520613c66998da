"""A pytest plugin: the fixture `counterfoil_mail`, a mail service of the test's own.

def test_an_order_is_confirmed_once(counterfoil_mail):
    with counterfoil_mail.client() as mail:
        confirm(order, mail)
        confirm(order, mail)
    assert [each.to_email for each in counterfoil_mail.mails] == [order.email]
"""

from collections.abc import Iterator

import pytest

from .testing import FakeMailService


@pytest.fixture
def counterfoil_mail() -> Iterator[FakeMailService]:
    """An empty mail service that keeps the contract: one mail per request ID, 422 by field, lookup, lists, changes."""
    with FakeMailService() as service:
        yield service
