"""Both OpenAPI documents are correct: schemathesis finds no 500, no undocumented answer and no wrong schema."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.databases import ROOT
from tests.support.stack import Ledgers

# `SCHEMATHESIS_EXAMPLES=100` tries more of them.
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "3"))
CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,negative_data_rejection,unsupported_method,ignored_auth"
)


@pytest.mark.parametrize("service", ["signup", "mail"])
def test_schemathesis_finds_nothing(ledgers: Ledgers, service: str, tmp_path: Path) -> None:
    url = ledgers.stack.signup_url if service == "signup" else ledgers.stack.mail_url
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{url}/openapi.json",
            "--header",
            f"Authorization: Bearer {ledgers.stack.operator_key}",
            "--phases=examples,coverage,fuzzing",
            f"--checks={CHECKS}",
            f"--max-examples={EXAMPLES}",
            "--seed=7",
            "--generation-database=none",
            "--continue-on-failure",
            "--warnings=off",
            "--no-color",
            "--workers=1",
        ],
        cwd=tmp_path,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "HOME": str(tmp_path),
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_bodies",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2000:]
