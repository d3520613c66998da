"""With MAIL_BOUNCE_DOMAIN set, the recipient address of a bounce identifies its mail."""

import pytest

from services.mail.app import create_app
from services.mail.settings import Settings
from tests.support.apis import running
from tests.support.databases import Clone
from tests.support.delivery import make_rig
from tests.support.mails import insert_mails, mail_row
from tests.support.memory_gateway import MemoryGateway
from tests.support.notices import report


@pytest.mark.parametrize("domain", ["", "bounces.example"])
async def test_a_bounce_that_quotes_nothing_is_matched_by_the_envelope_sender(
    mail_database: Clone, redis_url: str, domain: str
) -> None:
    pool = mail_database.database.pool
    (mail_id,) = await insert_mails(pool)
    gateway = MemoryGateway()
    rig = make_rig(pool, [gateway], bounce_domain=domain)
    await rig.deliver()
    await rig.close()
    ((envelope, _),) = gateway.kept
    assert envelope.sender == (f"bounce+{mail_id.hex}@{domain}" if domain else "no-reply@counterfoil.test")
    settings = Settings(
        mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url, mail_bounce_domain=domain
    )
    async with (
        running(create_app(settings), mail_database.database) as api,
        await api.as_client("tests", ["mails:operate"]) as client,
    ):
        answer = await client.post(
            "/v1/bounces", content=report("", to=envelope.sender), headers={"Content-Type": "message/rfc822"}
        )
    assert answer.json()["outcome"] == ("bounced" if domain else "unmatched")
    assert (await mail_row(pool, mail_id))["state"] == ("bounced" if domain else "sent")
