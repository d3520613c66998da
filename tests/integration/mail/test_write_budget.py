"""What a mail may write until it is sent: counts, beside their reasons. A count that grows fails here."""

from collections import Counter

import pytest

from services.mail.intake.accept import Intake, accept
from services.mail.intake.from_settings import make_intake
from services.mail.intake.template_engine import Templates
from services.mail.settings import Settings
from shared.contract.mails import MailRequest
from shared.contract.principals import Principal
from shared.observability.spans import OFF
from tests.support.attachments import image, pdf, sent
from tests.support.databases import Clone
from tests.support.delivery import make_rig, smtp_gateway
from tests.support.scripted_smtp import scripted_smtp
from tests.support.written import Written, cost_of

MAILS = 20
SIGNUP = Principal("signup", "key:signup", frozenset({"mails:send"}))


@pytest.fixture
def intake(mail_database: Clone) -> Intake:
    return make_intake(Settings(), mail_database.database, OFF, templates=Templates.load())


def _request(request_id: str) -> MailRequest:
    return MailRequest.model_validate(
        {
            "request_id": request_id,
            "to": {"email": f"{request_id}@example.org"},
            "template": "verification",
            "variables": {"name": "Åsa Öberg", "link": f"https://bench.example/{'x' * 64}", "expires_in_hours": 72},
            "metadata": {"user_id": request_id},
        }
    )


async def _accept(clone: Clone, intake: Intake, tag: str, mails: int = MAILS) -> Written:
    requests = [_request(f"{tag}-{n}") for n in range(mails)]
    return await cost_of(clone, lambda: accept(intake, SIGNUP, requests))


async def test_accepting_mails_is_one_commit_of_four_rows_each(mail_database: Clone, intake: Intake) -> None:
    await _accept(mail_database, intake, "warm")
    cost = await _accept(mail_database, intake, "counted")
    assert cost.commits == 1
    assert cost.rows == Counter(
        {
            "insert mails": MAILS,  # the ledger: the request ID is taken for ever (P4)
            "insert contents": MAILS,  # pinned, and wiped before the ledger is
            "insert queue": MAILS,  # narrow, so that a claim reads little
            "insert history": MAILS,  # P7, and the change feed
        }
    )
    # mails 10 (two of them only for rare states and restored mails), contents 1, queue 2, history 4.
    assert cost.index_entries <= 17 * MAILS
    assert cost.wal_bytes <= 5_200 * MAILS


async def test_attachments_are_in_the_commit_of_their_mail_and_their_bytes_are_written_once(
    mail_database: Clone, intake: Intake
) -> None:
    attachments = [sent(pdf(), content_id=None), image()]
    content = {"subject": "S", "text": "T", "html": "<img src='cid:logo'>", "attachments": attachments}
    requests = [
        MailRequest.model_validate({"request_id": str(n), "to": {"email": "a@example.org"}, **content})
        for n in range(MAILS)
    ]
    await _accept(mail_database, intake, "warm")
    cost = await cost_of(mail_database, lambda: accept(intake, SIGNUP, requests))
    assert cost.commits == 1
    assert (cost.rows["insert attachments"], cost.rows["insert attachment_blobs"]) == (2 * MAILS, 2)
    replayed = await cost_of(mail_database, lambda: accept(intake, SIGNUP, requests))
    assert replayed.rows == Counter()


async def test_a_delivered_mail_writes_its_lease_its_transmission_and_its_outcome(
    mail_database: Clone, intake: Intake
) -> None:
    async with scripted_smtp() as server:
        rig = make_rig(mail_database.database.pool, [smtp_gateway(server.port)])
        for tag in ("warm", "counted"):
            await _accept(mail_database, intake, tag)
            cost = await cost_of(mail_database, rig.deliver)
        await _accept(mail_database, intake, "alone", mails=1)
        alone = await cost_of(mail_database, rig.deliver)
        await rig.close()
    assert cost.rows == Counter(
        {
            "update queue": MAILS,  # the lease
            "update mails": 2 * MAILS,  # `sending`, `sent`
            "insert attempts": MAILS,  # `transmitting`, before the body leaves: P5
            "update attempts": MAILS,  # the gateway's words
            "delete queue": MAILS,
            "insert history": MAILS,  # P7, and the change feed
        }
    )
    # queue 2, attempts 1, history 4; an update of `mails` that finds no room in its page writes its indexes, too.
    assert cost.index_entries <= 12 * MAILS
    assert cost.wal_bytes <= 2_800 * MAILS
    # Claim, transmission, outcome, and the claim that finds nothing more. Several connections share commits.
    assert alone.commits == 4
