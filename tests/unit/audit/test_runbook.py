"""The runbook has a place for everything that can wake somebody up: alerts link to it by name."""

from services.mail.audit.alerts import alert_catalog as mail_register
from services.mail.settings import Settings as MailSettings
from services.signup.audit.alerts import alert_catalog as signup_register
from services.signup.settings import Settings as SignupSettings
from shared.audit.alert_loop import RUNBOOK
from tests.support.databases import ROOT


def test_every_alert_and_every_check_has_its_heading() -> None:
    lines = (ROOT / RUNBOOK).read_text().splitlines()
    headings = {line.removeprefix("### ") for line in lines if line.startswith("### ")}
    named = {*signup_register(SignupSettings()).sources, *mail_register(MailSettings()).sources}
    assert named - headings == set()
