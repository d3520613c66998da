"""The worker as a separate process."""

import asyncio
import os
import sys
from collections.abc import Mapping

from services.signup.settings import Settings
from tests.support.databases import ROOT
from tests.support.mail_stand_in import MailStandIn
from tests.support.signups import SignupLedger
from tests.support.stack import eventually


async def start(role: str, environment: Mapping[str, str]) -> asyncio.subprocess.Process:
    inherited = {name: value for name, value in os.environ.items() if name in {"PATH", "HOME", "LANG"}}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.signup", role),
        cwd=ROOT,
        env={**inherited, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def test_the_worker_delivers_without_valkey_wakes_on_notify_and_stops_on_sigterm(
    ledger: SignupLedger, signup_settings: Settings, mail_api: MailStandIn
) -> None:
    environment = {
        "SIGNUP_RUNTIME_DATABASE_URL": signup_settings.signup_runtime_database_url,
        "REDIS_URL": "redis://127.0.0.1:1/0",
        "SIGNUP_TOKEN_KEYS": "k" * 32,
        "MAIL_URL": mail_api.url,
        "MAIL_API_KEY": "cf_of_signup",
        "SIGNUP_POLL_SECONDS": "3600",  # only NOTIFY can wake it
    }
    worker = await start("worker", environment)
    try:
        listening = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database()"
        await eventually(lambda: ledger.pool.fetchval(listening), bool, what="the worker listens")
        await ledger.sign_up("asa@example.org")
        await ledger.run("NOTIFY signup_outbox")
        await eventually(lambda: ledger.rows("outbox_settled"), bool, what="the mail is delivered")
        (beat,) = await ledger.pool.fetch("SELECT process, detail FROM heartbeats WHERE process NOT LIKE '%/%'")
        assert (beat["process"], '"breaker": "closed"' in beat["detail"]) == ("signup-worker", True)
    finally:
        if worker.returncode is None:
            worker.terminate()
        output, _ = await worker.communicate()
    assert worker.returncode == 0, output.decode()
    assert "asa@" not in output.decode(), "logs hold no address"


async def test_a_process_with_a_wrong_setting_exits_and_names_it() -> None:
    database = "postgresql://signup_app:x@127.0.0.1:1/signup"
    complete = {"SIGNUP_TOKEN_KEYS": "k" * 32, "MAIL_API_KEY": "x", "SIGNUP_RUNTIME_DATABASE_URL": database}
    for role, wrong in (
        ("api", {"SIGNUP_TOKEN_KEYS": ""}),
        ("worker", {"SIGNUP_TOKEN_KEYS": ""}),
        ("worker", {"MAIL_API_KEY": ""}),
        ("worker", {"SIGNUP_LEASE_SECONDS": "1"}),
        ("api", {"REDIS_URL": "redis://:secret@host:port"}),
    ):
        process = await start(role, complete | wrong)
        output, _ = await process.communicate()
        assert process.returncode == 2
        assert next(iter(wrong)) in output.decode()
        assert "secret@" not in output.decode()
