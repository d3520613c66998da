"""A process that refuses its settings names each one and what it needs, and never repeats a value."""

import os
import subprocess
import sys

import pytest

from tests.support.databases import ROOT

SECRET = "swordfish"


@pytest.mark.parametrize(
    ("service", "variable", "value"),
    [
        ("signup", "REDIS_URL", f"http://:{SECRET}@127.0.0.1:1/0"),
        ("signup", "ALERT_SMTP_URL", f"http://ada:{SECRET}@127.0.0.1"),
        ("mail", "REDIS_URL", f"http://:{SECRET}@127.0.0.1:1/0"),
        ("mail", "MAIL_GATEWAYS", f"http://ada:{SECRET}@127.0.0.1"),
        ("mail", "MAIL_FROM", SECRET),
    ],
)
def test_a_worker_that_cannot_start_names_the_wrong_setting_without_its_value(
    service: str, variable: str, value: str
) -> None:
    database = {f"{service.upper()}_DATABASE_URL": f"postgresql://ada:{SECRET}@127.0.0.1:1/x"}
    done = subprocess.run(
        [sys.executable, "-m", f"services.{service}", "worker"],
        cwd=ROOT,
        env={**os.environ, **database, variable: value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"{service} cannot start: {variable}: ")
    assert SECRET not in done.stdout + done.stderr
