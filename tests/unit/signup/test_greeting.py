"""A name in a mail greets the user and carries no link or message."""

from dataclasses import replace

import pytest

from services.signup.outbox.effects.mail import mail_request
from services.signup.outbox.effects.recipient_name import name_in_mails
from shared.contract.mails import MailRequest
from tests.unit.signup.test_mail_effect import RING, mail_row


@pytest.mark.parametrize(
    "name",
    [
        "Åsa Öberg",
        "Dr. John Smith Jr.",
        "St. John-Mollusc",
        "Jean-Luc",
        "D.J.",
        "J.R.R. Tolkien",
        "M.Sc. Anna",
        "Prof. Dr. h.c. Max-Ferdinand von und zu Hohenstein, Ph.D.",
        "O'Brien-Şahin",
        "山田太郎",
        "Louis XIV.",
        "X Æ A-12",
        "John Smith 3rd",
        "Agent 007",
        "👩‍🔬 Ada",
        "Hubert Blaine Wolfeschlegelsteinhausenbergerdorff Sr.",
    ],
)
def test_people_are_greeted_by_their_names(name: str) -> None:
    assert name_in_mails(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "You won: http://evil.example/claim",
        "HTTPS://EVIL",
        "www.evil.example",
        "Visit Evil.Example now",
        "evil.com",
        "EVIL.COM",
        "x.co/abc",
        "T.CO/abc",
        "evil\u200b.\u2060com",
        "ｅｖｉｌ．ｃｏｍ",  # noqa: RUF001 - fullwidth letters on purpose
        "evil。com",
        "beispiel.рф",
        "mail ceo@evil.example",
        "Call +1 900 123-4567",
        "Congratulations, you have been chosen and only need to answer this mail " * 2,
    ],
)
def test_a_name_that_may_be_a_link_or_a_message_is_left_out_of_the_mail(name: str) -> None:
    row = mail_row("welcome")
    row = replace(row, payload=row.payload | {"to": {"email": "asa@example.org", "name": name}})
    request = mail_request(row, RING)
    assert (request["to"], request["variables"]) == ({"email": "asa@example.org"}, {"name": ""})
    MailRequest.model_validate(request)
