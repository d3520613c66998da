"""Runs every command of the runbook in bash, after the page's preamble, against a product with faults.

`docker compose` commands need an engine: tests/compose/run runs them, and this module checks only the names of their
services. tests/faults/test_ledgers_after_disasters.py covers the restore of a base backup.
"""

import re
import subprocess
from collections.abc import Awaitable

import orjson
import pytest
import yaml

from services.mail.audit.alerts import ALERT_RULES as MAIL_ALERT_RULES
from services.mail.audit.alerts import alert_catalog as mail_catalog
from services.mail.settings import Settings as MailSettings
from services.signup.audit.alerts import ALERT_RULES as SIGNUP_ALERT_RULES
from services.signup.audit.sanity_checks import CHECKS as SIGNUP_CHECKS
from tests.runbook.page import blocks, commands, compose_preamble, sections
from tests.runbook.situation import Situation
from tests.runbook.trials import TRIALS, Tried
from tests.support.databases import ROOT
from tests.support.stack import eventually

COMPOSE = [command for command in commands() if command.startswith("docker compose ")]
SQL = [block.strip() for block in blocks("sql")]
# The consoles that run the SQL blocks.
CONSOLES = ['psql "$SIGNUP_DATABASE_URL"', 'psql "$MAIL_DATABASE_URL"']
BASE_BACKUP = [
    "pg_basebackup --pgdata=/backup/base --checkpoint=fast",
    'cp -a /backup/base "$PGDATA"; touch "$PGDATA/recovery.signal"',
    'cat >> "$PGDATA/postgresql.auto.conf" <<END',
]
TRIED = [command for command in commands() if command not in (*COMPOSE, *SQL, *CONSOLES, *BASE_BACKUP)]


def test_every_command_has_a_trial_and_every_trial_a_command() -> None:
    assert set(TRIED) == TRIALS.keys()
    assert set(BASE_BACKUP) <= set(commands())


@pytest.mark.parametrize("command", TRIED)
async def test_a_command_does_what_the_page_says(situation: Situation, command: str) -> None:
    trial = TRIALS[command]
    values = {name: await fill(situation) for name, fill in trial.fills.items()}
    typed = f"{trial.first}\n{command}"
    for name, value in values.items():
        typed = re.sub(rf"\b{name}\b", value, typed)
    result = situation.run(typed)
    assert result.status == trial.status, result.errors
    assert result.errors == ""
    holds = trial.holds(Tried(situation, values, result))
    assert await holds if isinstance(holds, Awaitable) else holds, result.output


async def test_a_list_is_read_to_the_end_of_its_last_page(situation: Situation) -> None:
    mails = [await situation.queued_mail() for _ in range(3)]
    small = 'of_two() { mail "${1/limit=500/limit=2}"; }; pages of_two "/v1/mails?state=queued"'
    result = situation.run(small)
    assert (result.status, result.errors) == (0, "")
    listed = [orjson.loads(line)["id"] for line in result.output.splitlines()]
    assert len(set(listed)) == len(listed)
    assert set(mails) <= set(listed)


def test_a_refused_list_is_an_error_and_not_an_empty_list(arranged: Situation) -> None:
    result = arranged.run('pages mail "/v1/mails?state=nonsense" > mailed')
    assert result.status == 1
    assert "/problems/" in result.errors


def test_with_compose_the_shell_has_every_program_and_variable_that_a_command_uses() -> None:
    """`make compose-test` runs some of them on a real engine."""
    page = "\n".join(TRIED)
    programs = set(re.findall(r"(?:^|[;(|] ?|do )(python|psql|pg_\w+|tail)\b", page, re.MULTILINE))
    variables = set(re.findall(r"\$([A-Z]\w+)", page))
    assert {"python", "psql", "tail"} <= programs
    assert programs <= set(re.findall(r"^(\w+)\(\) {", compose_preamble(), re.MULTILINE))
    assert variables <= set(re.findall(r"\b([A-Z_]+)=", compose_preamble()))


def test_with_compose_the_shell_exports_nothing_that_would_win_over_env() -> None:
    done = subprocess.run(
        ["bash", "-c", f"docker() {{ echo 127.0.0.1:1; }}\n{compose_preamble()}\nenv"],
        cwd=ROOT / "tests",
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert not [line for line in done.stdout.splitlines() if re.match("SIGNUP|MAIL|OPERATOR", line)]


@pytest.mark.parametrize("command", COMPOSE)
def test_a_compose_command_names_existing_services(command: str) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    match command.split()[2:]:
        case ["up", "-d", *names] | ["logs", "--tail", _, *names] | ["stop", *names]:
            assert names
            assert set(names) <= services.keys()
        case _:
            pytest.fail(f"{command} is not a known Compose command")


@pytest.mark.parametrize("block", SQL)
@pytest.mark.parametrize("console", CONSOLES)
def test_an_sql_block_runs_as_the_owner_role(arranged: Situation, console: str, block: str) -> None:
    result = arranged.run(f"{console} --set ON_ERROR_STOP=1", stdin=block)
    assert (result.status, result.errors) == (0, "")


async def test_a_redriven_mail_arrives_once_after_the_workers_restart(situation: Situation) -> None:
    ledgers = situation.ledgers
    row_id = await situation.dead_row()
    result = situation.run("python -m services.signup outbox redrive --state dead --effect mail --error-like 503")
    assert result.status == 0, result.errors
    await ledgers.stack.bring_back()
    owed = "SELECT count(*) FROM outbox WHERE effect = 'mail'"
    await eventually(lambda: ledgers.fetchval("signup", owed), lambda count: count == 0, what="all mails relayed")
    queued = "SELECT count(*) FROM mails WHERE state IN ('queued', 'sending')"
    await eventually(lambda: ledgers.fetchval("mail", queued), lambda count: count == 0, what="all mails sent")
    (mail,) = await ledgers.mails(request_id=row_id)
    assert mail["state"] == "sent"
    assert len(await ledgers.caught(mail["to"]["email"])) == 1


@pytest.mark.parametrize("name", sorted({source.name for source in (*SIGNUP_ALERT_RULES, *MAIL_ALERT_RULES)}))
def test_an_alerts_section_says_what_it_means_for_people_where_to_look_what_to_do_and_when_it_is_over(
    name: str,
) -> None:
    labels = re.findall(r"^\*\*([\w, ]+):\*\*", sections()[name], re.MULTILINE)
    assert labels == ["People", "Look", "Do", "Over"]


@pytest.mark.parametrize(
    "name", sorted({check.name for check in (*SIGNUP_CHECKS, *mail_catalog(MailSettings()).checks)})
)
def test_a_checks_section_says_what_it_means_for_people_where_to_look_and_what_to_do(name: str) -> None:
    labels = re.findall(r"^\*\*([\w, ]+):\*\*", sections()[name], re.MULTILINE)
    assert labels in (["People", "Look", "Do"], ["People", "Look, do"])
