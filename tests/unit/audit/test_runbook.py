"""The runbook has a heading for every alert and check: alerts link to it by name."""

from services.mail.audit.alerts import alert_catalog as mail_catalog
from services.mail.settings import Settings as MailSettings
from services.signup.audit.alerts import alert_catalog as signup_catalog
from services.signup.settings import Settings as SignupSettings
from shared.audit.alert_loop import RUNBOOK
from tests.support.databases import ROOT


def test_every_alert_and_check_has_a_heading() -> None:
    lines = (ROOT / RUNBOOK).read_text().splitlines()
    headings = {line.removeprefix("### ") for line in lines if line.startswith("### ")}
    named = {*signup_catalog(SignupSettings()).sources, *mail_catalog(MailSettings()).sources}
    assert named - headings == set()
