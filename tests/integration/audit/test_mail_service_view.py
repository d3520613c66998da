"""Signup's alerts ask the mail service whether mails can leave, with no more scopes than signup's key has."""

import httpx
import orjson
import pytest

from services.mail.process_names import WORKER as MAIL_WORKER
from services.signup.audit.alerts import cannot_send
from services.signup.audit.mail_service_view import MailServiceView, MailServiceViewError
from shared.worker.heartbeats import BEAT
from tests.support.apis import Api

# As `make run` and Compose register signup's key.
SIGNUPS_SCOPES = ("mails:send", "mails:read", "mails:operate")


async def _beat(mail_api: Api, breaker: str) -> None:
    detail = {"gateways": [{"name": "main", "breaker": breaker, "last_fault": None, "in_flight": 0}]}
    await mail_api.database.pool.execute(BEAT, MAIL_WORKER, "here:1", orjson.dumps(detail).decode())


async def test_signups_own_key_learns_whether_mails_can_leave(mail_api: Api) -> None:
    async with await mail_api.as_client("signup", SIGNUPS_SCOPES) as http:
        view = MailServiceView(http)
        assert cannot_send(await view.gateways()), "no worker has ever run"
        await _beat(mail_api, "closed")
        assert not cannot_send(await view.gateways())
        await _beat(mail_api, "open")
        assert cannot_send(await view.gateways())
        await _beat(mail_api, "closed")
        await mail_api.database.pool.execute("UPDATE heartbeats SET at = at - interval '1 minute'")
        assert cannot_send(await view.gateways()), "the worker is silent"


async def test_a_mail_service_that_refuses_signups_key_answers_and_sends_no_alerts(mail_api: Api) -> None:
    async with await mail_api.as_client("signup", ("mails:send",)) as http:
        assert cannot_send(await MailServiceView(http).gateways())


async def test_a_mail_service_that_does_not_answer_is_another_matter() -> None:
    async with httpx.AsyncClient(base_url="http://127.0.0.1:1") as http:
        with pytest.raises(MailServiceViewError):
            await MailServiceView(http).gateways()
