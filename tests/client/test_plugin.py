"""The pytest plugin, as another project's tests use it, and the faults that its fake plays."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from counterfoil_client import Mail, Retry, errors
from counterfoil_client.testing import FakeMailService, FakeTemplate
from tests.support.databases import ROOT

MAIL: Any = {"to": "ada@x.example", "subject": "S", "text": "T"}
TESTS_OF_AN_APPLICATION = """
import httpx

def test_each_test_begins_with_no_mails(counterfoil_mail):
    assert counterfoil_mail.mails == []

def test_an_application_may_bring_its_own_http_client(counterfoil_mail):
    body = {"request_id": "one", "to": {"email": "ada@x.example"}, "subject": "S", "text": "T"}
    headers = {"Authorization": f"Bearer {counterfoil_mail.api_key()}"}
    assert httpx.post(f"{counterfoil_mail.url}/v1/mails", json=body, headers=headers).status_code == 202
"""


def test_an_installed_plugin_gives_tests_a_mail_service_of_their_own(tmp_path: Path) -> None:
    examples = re.findall("```python\n(.*?)```", (ROOT / "client" / "README.md").read_text(), re.DOTALL)
    (shown,) = (example for example in examples if "def test_" in example)
    (tmp_path / "test_application.py").write_text(shown + TESTS_OF_AN_APPLICATION)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "counterfoil_client.pytest_plugin", "-p", "no:valkey", "-W", "error",
         "-p", "no:schemathesis", "-q", "test_application.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT / "client"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    assert "3 passed" in done.stdout, done.stdout + done.stderr


def test_a_lost_answer_still_makes_the_mail_as_on_a_real_network() -> None:
    with FakeMailService() as fake, fake.client() as mail:
        fake.lose_answers(2)
        assert mail.send(request_id="one", **MAIL).replayed
        fake.lose_answers()
        assert mail.send_once(request_id="two", **MAIL).request_id == "two"
        assert [each.request_id for each in fake.mails] == ["one", "two"]


def test_a_refusal_does_nothing_and_says_when_to_come_again() -> None:
    waits: list[float] = []
    with FakeMailService() as fake:
        retry = Retry(base_seconds=0)
        with Mail(
            "http://fake", api_key=fake.api_key(), transport=fake.transport(), retry=retry, sleep=waits.append
        ) as mail:
            fake.refuse(429, retry_after=3)
            fake.refuse(503)
            assert not mail.send(request_id="one", **MAIL).replayed
            fake.refuse(422)
            with pytest.raises(errors.ApiError):
                mail.send(request_id="two", **MAIL)
    assert waits == [3, 0]
    assert [each.request_id for each in fake.mails] == ["one"]


def test_a_test_says_what_became_of_a_mail() -> None:
    with FakeMailService() as fake, fake.client() as mail:
        fake.suppress("Gone@X.example")
        assert mail.send(request_id="gone", **{**MAIL, "to": "gone@x.example"}).state == "suppressed"
        mail.send(request_id="one", **MAIL)
        fake.settle("one", "failed", reason="refused", reply="550 no such user")
        with pytest.raises(errors.NotSent, match="refused"):
            mail.wait_until_sent("one")
        mail.send(request_id="two", **MAIL)
        fake.deliver()
        fake.settle("two", "bounced")
        assert mail.wait_until_sent("two").state == "bounced"
        cursor = [change.cursor for change in mail.follow(wait=False)][-1]
        fake.forget_changes()
        with pytest.raises(errors.CursorLost):
            list(mail.follow(cursor, wait=False))
        assert list(mail.follow(cursor, wait=False, start_again=True)) == []


def test_variables_of_a_template_can_be_read_back() -> None:
    templates = {"welcome": FakeTemplate(required=["name"], on_uncertain="resend")}
    with FakeMailService(templates) as fake, fake.client() as mail:
        sent = mail.send(request_id="one", to="a@x.example", template="welcome", variables={"name": "A"})
        assert fake.variables_of("one") == {"name": "A"}
        assert sent.on_uncertain == "resend"


def test_the_server_ends_with_the_fake() -> None:
    with FakeMailService() as fake:
        url = fake.url
        with httpx.Client() as http:
            assert http.get(f"{url}/v1/mails").status_code == 401
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
