"""Personal and secret data in log lines is masked; the rest stays readable."""

import subprocess
import sys
from typing import Any
from uuid import UUID

import orjson
import pytest

from services.signup.verification_token import TokenRing
from shared.db import api_keys
from shared.observability.masking import Masker, mask_text
from tests.support.databases import ROOT

TOKEN = TokenRing.from_setting("k" * 32).sign(UUID(int=7), TokenRing.from_setting("k" * 32).signing_key_id)


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("550 5.1.1 <asa.o+x@bücher.example>: User unknown", "550 5.1.1 <***@bücher.example>: User unknown"),
        ("to=o'brien@xn--bcher-kva.example;", "***@xn--bcher-kva.example;"),
        ('"åsa öberg"@x.example is over quota', "***@x.example is over quota"),
        (r"{\"to\": \"asa\"}, \"åsa b\"@x.example", r"{\"to\": \"asa\"}, ***@x.example"),
        ("उदा.हरण@परीक्षा.example", "***@परीक्षा.example"),
        ("asa@[192.0.2.1] and asa@localhost", "***@[192.0.2.1] and ***@localhost"),
        ("GET /v1/users?email=asa%40x.example&limit=1", "GET /v1/users?email=***%40x.example&limit=1"),
        ("GET /v1/users?email=%C3%A5sa%40x.example", "GET /v1/users?email=***%40x.example"),
        ("postgresql://app:p@ss@db/x and redis://:pw@h:1/0", "postgresql://app:***@db/x and redis://:***@h:1/0"),
        ("smtps://me:pa%40ss@smtp.example:465?name=a", "smtps://me:***@smtp.example:465?name=a"),
        ("bearer eyJhbGciOi.e30.x", "bearer ***"),
        (f"http://h/verify/{TOKEN}?utm_source=x", "http://h/verify/***?utm_source=x"),
        ("/verify/{token}", "/verify/{token}"),
        (f'{{"token":"{TOKEN}"}}', '{"token":"***"}'),
        ("whsec_c2VjcmV0+/=, next", "whsec_***, next"),
        ("new row\nDETAIL:  Failing row contains (1, Åsa\nÖberg).\nHINT:  No.", "new row\nDETAIL: ***\nHINT:  No."),
        ("DETAIL:  (Åsa)\n\nDuring handling of", "DETAIL: ***\n\nDuring handling of"),
        ("invalid input for query argument $3: 'Åsa' (expected int)", "invalid input for query argument $3: ***"),
        ('invalid input syntax for type uuid: "Åsa"', "invalid input syntax for type uuid: ***"),
        ("exception=X(\"Command # 1 (SET k {'name': 'Åsa'}) of pipeline caused\")>", 'exception=X("Command # 1 (***'),
        ("unknown command 'x', with args beginning with: 'Åsa' ", "unknown command 'x', with args beginning with: ***"),
        ("[type=x, input_value='Åsa', input_type=str]", "[type=x, input_value=***, input_type=str]"),
        ("[SQL: SELECT 1]\n[parameters: ('Åsa',)]\n(more)", "[SQL: SELECT 1]\n[parameters: ***]\n(more)"),
        (
            'File "x.py", line 1\n    @router.get("/")\n    a @ b',
            'File "x.py", line 1\n    @router.get("/")\n    a @ b',
        ),
        ("every check passes at 10:00", "every check passes at 10:00"),
    ],
)
def test_only_personal_and_secret_parts_of_a_text_are_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked


def test_only_the_id_of_an_api_key_stays() -> None:
    key = api_keys.mint()
    assert mask_text(f"Authorization: Bearer {key.text}") == f"Authorization: Bearer cf_{key.key_id}_***"


def test_fields_are_masked_by_name_at_any_depth() -> None:
    event = {
        "event": "seen",
        "to_email": "asa",
        "reply": "no such Åsa",
        "Reply-To": ["Åsa"],
        "name": {"first": "Åsa"},
        "mail_id": UUID(int=1),
        "rows": [{"name": "Åsa", "state": "sent", "asa@x.example": 1}, ("asa@x.example", None)],
        "addresses": 3,
        "token": None,
    }
    assert Masker()(None, "info", event) == {
        "event": "seen",
        "to_email": "***",
        "reply": "***",
        "Reply-To": "***",
        "name": "***",
        "mail_id": "UUID('00000000-0000-0000-0000-000000000001')",
        "rows": [{"name": "***", "state": "sent", "***@x.example": 1}, ["***@x.example", None]],
        "addresses": 3,
        "token": None,
    }


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "a@",
        '"',
        "%40",
        "a%4",
        '"a\\',
        "input_value=",
        "DETAIL: ",
        "invalid input ",
        "Command # 1 (",
        "bearer ",
        "://",
        "/verify/",
    ],
)
def test_no_text_takes_long_to_mask(piece: str) -> None:
    # A search that restarts at every position would take minutes, and the timeout ends it.
    mask_text(piece * 100_000 + "@x" + "-" * 70 + "%40://cf_")


LOGGING_PROGRAM = """
import logging, sys, warnings
from shared.observability import logs as log
from shared.contract.correlation import Correlation, bind
log.configure("test", sys.argv[1], personal_data=sys.argv[2] == "yes")
service, library = log.get_logger("services.x"), logging.getLogger("uvicorn.error")
bind(Correlation("request-1"))
service.debug("service_debugging", error="asa@x.example")
service.info("service", error=ValueError("asa@x.example"), nested={"to": ["Asa"]})
library.debug("library debugging asa@x.example")
library.info("library %s", "asa@x.example", extra={"color_message": "asa@x.example"})
for logger in (service, library):
    try:
        try:
            raise KeyError("asa@x.example")
        except KeyError as error:
            raise ValueError('new row\\nDETAIL:  Failing row contains (Asa).') from error
    except ValueError:
        logger.exception("failed")
warnings.warn("asa@x.example")
raise RuntimeError("asa@x.example")
"""


def _lines(level: str, personal_data: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-c", LOGGING_PROGRAM, level, personal_data], cwd=ROOT, capture_output=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, b"")
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def test_every_output_of_a_process_is_one_masked_line() -> None:
    lines = _lines("DEBUG", "no")
    assert [(line["event"].partition(" ")[0].partition(":")[0], line["level"]) for line in lines] == [
        ("service_debugging", "debug"),
        ("service", "info"),
        ("library", "info"),
        *[("failed", "error")] * 2,
        ("<string>", "warning"),
        ("process_died", "critical"),
    ]
    assert all(line["service"] == "test" and line["correlation_id"] == "request-1" for line in lines)
    assert not [line for line in lines if "asa" in str(line).lower()]
    assert all("***@x.example" in str(line) for line in lines)
    assert lines[1]["nested"] == {"to": "***"}
    for line in lines[3:5]:
        assert "Traceback" in line["exception"]
        assert line["exception"].endswith("DETAIL: ***")


def test_with_log_personal_data_nothing_is_masked() -> None:
    lines = _lines("DEBUG", "yes")
    assert len(lines) == 8, "debug lines of libraries are logged too"
    assert all("asa@x.example" in str(line) for line in lines)


def test_the_level_applies_to_services_and_libraries() -> None:
    events = [line["event"].partition(" ")[0] for line in _lines("WARNING", "no")]
    assert events[:2] == ["failed", "failed"]
    assert len(events) == 4
