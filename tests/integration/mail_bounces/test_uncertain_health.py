"""An operator must resolve an uncertain mail: `/health` warns at once, and fails after a day."""

import pytest

from tests.integration.mail.test_interventions import SET_STATE
from tests.support.apis import Api
from tests.support.mails import insert_mails


@pytest.mark.parametrize(
    ("age", "status"), [("2 seconds", "warn"), ("23 hours", "warn"), ("25 hours", "fail"), (None, "pass")]
)
async def test_health_warns_and_then_fails_as_the_oldest_uncertain_mail_ages(
    mail_api: Api, age: str | None, status: str
) -> None:
    pool = mail_api.database.pool
    await insert_mails(pool)
    await pool.execute(SET_STATE, "uncertain" if age else "sent")
    await pool.execute("UPDATE attempts SET ended_at = now() - $1::text::interval", age or "0")
    answer = await mail_api.operations.get("/health")
    check = answer.json()["checks"]["uncertain_mails"]
    assert check["status"] == status
    assert "1 mails" in check["detail"] or not age
    assert answer.status_code == (503 if status == "fail" else 200)
    assert answer.json()["status"] == ("fail" if status == "fail" else "warn")  # no worker runs here
