"""Every command of the runbook, tried: in a bash, with the page's own preamble, where it has something to do.

Those of `docker compose` need an engine: tests/compose/run tries them, and only the names of their services are checked
here. Going back to a base backup is tried as a whole by tests/faults/test_ledgers_after_disasters.py.
"""

import re
from collections.abc import Awaitable

import orjson
import pytest
import yaml

from services.mail.audit.alerts import ALERT_RULES as MAIL_ALERT_RULES
from services.mail.audit.sanity_checks import CHECKS as MAIL_CHECKS
from services.signup.audit.alerts import ALERT_RULES as SIGNUP_ALERT_RULES
from services.signup.audit.sanity_checks import CHECKS as SIGNUP_CHECKS
from tests.runbook.page import blocks, commands, sections
from tests.runbook.situation import Situation
from tests.runbook.trials import TRIALS, Tried
from tests.support.databases import ROOT
from tests.support.stack import eventually

COMPOSE = [command for command in commands() if command.startswith("docker compose ")]
SQL = [block.strip() for block in blocks("sql")]
# These two by themselves are what the blocks of SQL are given to.
CONSOLES = ['psql "$SIGNUP_DATABASE_URL"', 'psql "$MAIL_DATABASE_URL"']
BASE_BACKUP = [
    "pg_basebackup --pgdata=/backup/base --checkpoint=fast",
    'cp -a /backup/base "$PGDATA"; touch "$PGDATA/recovery.signal"',
    'cat >> "$PGDATA/postgresql.auto.conf" <<END',
]
TRIED = [command for command in commands() if command not in (*COMPOSE, *SQL, *CONSOLES, *BASE_BACKUP)]


def test_no_command_of_the_page_is_untried_and_no_trial_is_of_a_command_that_is_gone() -> None:
    assert set(TRIED) == TRIALS.keys()
    assert set(BASE_BACKUP) <= set(commands())


@pytest.mark.parametrize("command", TRIED)
async def test_a_command_does_what_the_page_says(situation: Situation, command: str) -> None:
    trial = TRIALS[command]
    values = {name: await fill(situation) for name, fill in trial.fills.items()}
    typed = f"{trial.first}\n{command}"
    for name, value in values.items():
        typed = re.sub(rf"\b{name}\b", value, typed)
    said = situation.run(typed)
    assert said.status == trial.status, said.errors
    assert said.errors == ""
    holds = trial.holds(Tried(situation, values, said))
    assert await holds if isinstance(holds, Awaitable) else holds, said.output


async def test_a_list_is_read_to_the_end_of_its_last_page(situation: Situation) -> None:
    mails = [await situation.queued_mail() for _ in range(3)]
    small = 'of_two() { mail "${1/limit=500/limit=2}"; }; pages of_two "/v1/mails?state=queued"'
    said = situation.run(small)
    assert (said.status, said.errors) == (0, "")
    listed = [orjson.loads(line)["id"] for line in said.output.splitlines()]
    assert len(set(listed)) == len(listed)
    assert set(mails) <= set(listed)


def test_a_list_that_is_refused_is_said_and_not_taken_for_an_empty_one(arranged: Situation) -> None:
    said = arranged.run('pages mail "/v1/mails?state=nonsense" > mailed')
    assert said.status == 1
    assert "/problems/" in said.errors


@pytest.mark.parametrize("command", COMPOSE)
def test_a_command_for_compose_names_services_that_there_are(command: str) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    match command.split()[2:]:
        case ["up", "-d", *names] | ["logs", "--tail", _, *names] | ["stop", *names]:
            assert names
            assert set(names) <= services.keys()
        case _:
            pytest.fail(f"{command} is not known here")


@pytest.mark.parametrize("block", SQL)
@pytest.mark.parametrize("console", CONSOLES)
def test_a_block_of_sql_runs_through_as_the_owner_role(arranged: Situation, console: str, block: str) -> None:
    said = arranged.run(f"{console} --set ON_ERROR_STOP=1", stdin=block)
    assert (said.status, said.errors) == (0, "")


async def test_what_the_commands_set_going_arrives_once_the_workers_are_back(situation: Situation) -> None:
    ledgers = situation.ledgers
    row_id = await situation.dead_row()
    said = situation.run("python -m services.signup outbox redrive --state dead --effect mail --error-like 503")
    assert said.status == 0, said.errors
    await ledgers.stack.bring_back()
    owed = "SELECT count(*) FROM outbox WHERE effect = 'mail'"
    await eventually(lambda: ledgers.fetchval("signup", owed), lambda count: count == 0, what="all mails handed on")
    queued = "SELECT count(*) FROM mails WHERE state IN ('queued', 'sending')"
    await eventually(lambda: ledgers.fetchval("mail", queued), lambda count: count == 0, what="all mails sent")
    (mail,) = await ledgers.mails(request_id=row_id)
    assert mail["state"] == "sent"
    assert len(await ledgers.caught(mail["to"]["email"])) == 1


@pytest.mark.parametrize("name", sorted({source.name for source in (*SIGNUP_ALERT_RULES, *MAIL_ALERT_RULES)}))
def test_an_alert_says_what_it_means_for_people_where_to_look_what_to_do_and_when_it_is_over(name: str) -> None:
    labels = re.findall(r"^\*\*([\w, ]+):\*\*", sections()[name], re.MULTILINE)
    assert labels == ["People", "Observation", "Do", "Over"]


@pytest.mark.parametrize("name", sorted({check.name for check in (*SIGNUP_CHECKS, *MAIL_CHECKS)}))
def test_a_check_says_what_it_means_for_people_where_to_look_and_what_to_do(name: str) -> None:
    labels = re.findall(r"^\*\*([\w, ]+):\*\*", sections()[name], re.MULTILINE)
    assert labels in (["People", "Observation", "Do"], ["People", "Observation, do"])
