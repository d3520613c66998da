"""Both APIs in the test process, for outages of their databases."""

from tests.integration.metrics.conftest import mail_api, signup_api, signup_settings

__all__ = ["mail_api", "signup_api", "signup_settings"]
