"""One line of configuration sets the severity of a finding."""

import pytest

from services.mail.audit.alerts import alert_catalog as mail_catalog
from services.mail.settings import Settings as MailSettings
from services.signup.audit.alerts import alert_catalog as signup_catalog
from services.signup.settings import Settings as SignupSettings
from shared.audit.severity import Severity, read_severities
from shared.contract.configuration import ConfigurationError

KNOWN = {"stove_on": Severity.RED, "light_on": Severity.WARNING}


def test_a_name_without_override_keeps_its_severity() -> None:
    assert read_severities("X_CHECK_SEVERITY", "", KNOWN) == KNOWN
    assert read_severities("X_CHECK_SEVERITY", " light_on = red ,", KNOWN) == {
        "stove_on": Severity.RED,
        "light_on": Severity.RED,
    }


@pytest.mark.parametrize("text", ["stove=red", "stove_on", "stove_on=loud", "=red"])
def test_an_unknown_name_or_severity_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match=r"stove|no check"):
        read_severities("X_CHECK_SEVERITY", text, KNOWN)


def test_a_misspelled_setting_stops_a_service_from_starting() -> None:
    with pytest.raises(ConfigurationError, match="SIGNUP_CHECK_SEVERITY: no check or alert is named 'outbox_ded'"):
        signup_catalog(SignupSettings(signup_check_severity="outbox_ded=warning"))
    with pytest.raises(ValueError, match="MAIL_CHECK_SEVERITY"):
        mail_catalog(MailSettings(mail_check_severity="uncertain_mails=purple"))


def test_checks_and_alerts_share_one_list_of_names() -> None:
    for catalog in (signup_catalog(SignupSettings()), mail_catalog(MailSettings())):
        assert len(catalog.sources) == len(catalog.severities)
        assert {check.name for check in catalog.checks} < set(catalog.sources)
