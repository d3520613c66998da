"""Incident 4: a company is acquired: its users are bulk-loaded and need the same welcome and validation."""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.support.databases import ROOT
from tests.support.imports import NDJSON, ndjson, people
from tests.support.stack import Ledgers, eventually

# `STORY_4_ROWS=20000 STORY_4_KILLS=10` is the full size; the defaults fit a test run.
ROWS = int(os.environ.get("STORY_4_ROWS", "1000"))
KILLS = int(os.environ.get("STORY_4_KILLS", "3"))
PATIENCE_SECONDS = 60 + ROWS / 20
UNSETTLED = "SELECT count(*) FROM outbox WHERE import_id = $1::uuid"
# Lines with an outcome plus mails that were relayed.
PROGRESS = """
SELECT created + (mails_owed - (SELECT count(*) FROM outbox WHERE import_id = imports.id))
FROM imports WHERE source = $1
"""


def _emails(prefix: str) -> list[str]:
    return [f"{prefix}-{n}@x.example" for n in range(ROWS)]


async def _import(ledgers: Ledgers, file: Path, *options: str) -> asyncio.subprocess.Process:
    """Run the import command as an operator does."""
    stack = ledgers.stack
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.signup", "import", str(file), *options),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "SIGNUP_URL": stack.signup_url, "OPERATOR_KEY": stack.operator_key},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def _everyone_was_mailed_once(ledgers: Ledgers, prefix: str) -> None:
    await eventually(
        lambda: ledgers.fetchval(
            "mail", "SELECT count(*) FROM mails WHERE to_key LIKE $1 AND state = 'sent'", f"{prefix}-%"
        ),
        lambda count: bool(count == ROWS),
        seconds=PATIENCE_SECONDS,
        what="every mail sent",
    )
    assert await ledgers.fetchval("mail", "SELECT count(*) FROM mails WHERE to_key LIKE $1", f"{prefix}-%") == ROWS
    page = (await ledgers.catcher.get("/api/v1/messages", params={"limit": 1_000_000})).json()
    caught = Counter(message["To"][0]["Address"] for message in page["messages"])
    assert {email: caught[email] for email in _emails(prefix)} == dict.fromkeys(_emails(prefix), 1)


@pytest.mark.timeout(60 + PATIENCE_SECONDS * 3)
async def test_an_import_whose_worker_is_killed_repeatedly_creates_and_mails_every_user_once(
    ledgers: Ledgers, tmp_path: Path
) -> None:
    prefix = "story4"
    rows = [
        person | {"email": email, "verified": n % 2 == 0}
        for n, (person, email) in enumerate(zip(people(ROWS), _emails(prefix), strict=True))
    ]
    file = tmp_path / "users.ndjson"
    file.write_bytes(ndjson(rows))
    command = await _import(ledgers, file, "--source", prefix, "--mails-per-minute", "0")
    for kill in range(1, KILLS + 1):
        enough = 2 * ROWS * kill // (KILLS + 1)
        await eventually(
            lambda: ledgers.fetchval("signup", PROGRESS, prefix),
            lambda seen, enough=enough: bool(seen is not None and seen >= enough),  # type: ignore[misc]
            seconds=PATIENCE_SECONDS,
            what=f"{enough} lines and mails",
        )
        ledgers.stack.kill("signup-worker")
        ledgers.stack.start("signup-worker")
    out, err = await asyncio.wait_for(command.communicate(), PATIENCE_SECONDS)
    assert command.returncode == 0, err.decode()
    assert f"created         {ROWS}" in out.decode()
    (done,) = (item for item in (await ledgers.signup.get("/v1/imports")).json()["items"] if item["source"] == prefix)
    assert (done["state"], done["outcomes"]["created"], done["mails_owed"]) == ("done", ROWS, ROWS)
    users = "SELECT count(*), count(DISTINCT email_key), count(DISTINCT external_id) FROM users WHERE source = 'story4'"
    assert tuple(await _fetchrow(ledgers, users)) == (ROWS, ROWS, ROWS)
    await _everyone_was_mailed_once(ledgers, prefix)
    templates = Counter(mail["template"] for mail in await ledgers.mails(to=_emails(prefix)[0]))
    assert templates == {"welcome": 1}
    by_template = "SELECT count(*) FROM mails WHERE to_key LIKE 'story4-%' AND template = $1"
    for template in ("welcome", "verification"):
        assert await ledgers.fetchval("mail", by_template, template) == ROWS // 2
    # The same command again finds the same import.
    again = await _import(ledgers, file, "--source", prefix, "--mails-per-minute", "0")
    out, err = await again.communicate()
    assert (again.returncode, done["id"] in out.decode()) == (0, True), err.decode()


async def _fetchrow(ledgers: Ledgers, query: str) -> list[int]:
    return [
        int(part)
        for part in str(await ledgers.fetchval("signup", f"SELECT t::text FROM ({query}) AS t"))[1:-1].split(",")
    ]


async def test_an_upload_interrupted_by_the_death_of_the_api_is_sent_again_and_counts_once(ledgers: Ledgers) -> None:
    rows = [person | {"email": f"story4-upload-{n}@x.example"} for n, person in enumerate(people(4000))]
    body = ndjson(rows)
    headers = {"Content-Type": NDJSON, "Idempotency-Key": "story4-upload"}
    params = {"source": "story4-upload", "dry_run": "true"}
    staged = "SELECT count(*) FROM import_rows JOIN imports ON imports.id = import_id WHERE source = 'story4-upload'"

    async def body_that_kills_the_api() -> AsyncIterator[bytes]:
        yield body[: len(body) // 2]
        await eventually(lambda: ledgers.fetchval("signup", staged), lambda count: count > 0, what="staged rows")
        ledgers.stack.kill("signup-api")
        yield body[len(body) // 2 :]

    with pytest.raises(httpx.TransportError):
        await ledgers.signup.post("/v1/imports", content=body_that_kills_the_api(), headers=headers, params=params)
    await ledgers.stack.bring_back()
    answer = await ledgers.signup.post("/v1/imports", content=body, headers=headers, params=params)
    assert answer.status_code == 202
    done = await eventually(
        lambda: ledgers.signup.get(answer.headers["Location"]), lambda found: found.json()["state"] == "done"
    )
    assert done.json()["rows"] == done.json()["outcomes"]["created"] == len(rows)


async def test_the_command_lists_invalid_rows_and_reports_them_in_its_exit_status(
    ledgers: Ledgers, tmp_path: Path
) -> None:
    file = tmp_path / "users.csv"
    file.write_text("external_id,email,name\n1,story4-cli@x.example,Cleo\n2,invalid,Invalid\n")
    command = await _import(ledgers, file, "--dry-run", "--source", "story4-cli")
    out, err = await command.communicate()
    assert command.returncode == 3, err.decode()
    assert "created         1" in out.decode()
    assert "line 3: email: " in out.decode()
    file.write_text("external_id;email;name\n1;story4-cli@x.example;Cleo\n")
    command = await _import(ledgers, file, "--dry-run")
    out, err = await command.communicate()
    assert (command.returncode, "422" in err.decode()) == (1, True)
