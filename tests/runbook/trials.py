"""For each command of the runbook: what it acts on, and what it must achieve."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import asyncpg
import orjson

from tests.runbook.situation import ASA, CommandResult, Situation
from tests.support.stack import eventually

# Returns the value of a placeholder in capitals.
Fill: TypeAlias = Callable[[Situation], Awaitable[str]]
# Whether the command did what the page promises.
Holds: TypeAlias = Callable[["Tried"], Awaitable[bool] | bool]


@dataclass(frozen=True)
class Tried:
    """A command that was run, with the values of its placeholders."""

    situation: Situation
    values: Mapping[str, str]
    result: CommandResult

    @property
    def answers(self) -> list[Any]:
        """The output as one JSON value per line."""
        return [orjson.loads(line) for line in self.result.output.splitlines()]

    @property
    def only(self) -> Any:
        (answer,) = self.answers
        return answer

    @property
    def lines(self) -> list[str]:
        return self.result.output.splitlines()

    def file(self, name: str) -> list[str]:
        """The lines of a file in the checkout."""
        return (self.situation.checkout / name).read_text(encoding="utf-8").splitlines()

    def shows(self, name: str, key: str = "id") -> bool:
        """Whether every listed answer contains the item of placeholder `name`."""
        return all(self.values[name] in [item[key] for item in answer["items"]] for answer in self.answers)


@dataclass(frozen=True)
class Trial:
    holds: Holds
    fills: Mapping[str, Fill]
    status: int = 0
    # Typed into the same shell before the command.
    first: str = ""


def trial(holds: Holds, status: int = 0, first: str = "", **fills: Fill) -> Trial:
    return Trial(holds, fills, status, first)


_row, _dead, _webhook = Situation.waiting_row, Situation.dead_row, Situation.dead_webhook
_delivery = Situation.dead_delivery
_user, _asa = Situation.user, Situation.asa
_queued, _failed, _uncertain = Situation.queued_mail, Situation.failed_mail, Situation.uncertain_mail


def _has_checks(*names: str) -> Holds:
    def holds(tried: Tried) -> bool:
        healths = [answer["checks"] for answer in tried.answers]
        return len(healths) == len(names) and all(name in checks for name, checks in zip(names, healths, strict=True))

    return holds


def _is(state: str) -> Holds:
    return lambda tried: bool(tried.only["state"] == state)


async def _is_pending_again(tried: Tried) -> bool:
    """The dead row is pending after a command that retries many."""
    row = (await tried.situation.ledgers.signup.get(f"/audit/outbox/{tried.values['DEAD']}")).json()
    retried = tried.only["retried"] if tried.result.output.startswith("{") else int(tried.result.output.split()[1])
    return bool(row["state"] == "pending" and retried >= 1)


async def _is_erased(tried: Tried) -> bool:
    answer = await tried.situation.ledgers.signup.get(f"/v1/users/{tried.values['USER_ID']}")
    return tried.result.output == "" and answer.status_code == 410


async def _opens_the_mail_service(tried: Tried) -> bool:
    key = tried.result.output.splitlines()[-1]
    answer = await tried.situation.ledgers.mail.get("/v1/mails", headers={"Authorization": f"Bearer {key}"})
    return answer.status_code == 200


async def _lists_open_incidents_first(tried: Tried) -> bool:
    return all(answer["items"][0]["closed_at"] is None for answer in tried.answers[:1]) and all(
        {"subject", "mails_sent", "mails_owed"} <= item.keys() for answer in tried.answers for item in answer["items"]
    )


def _pauses(tried: Tried) -> bool:
    paused = {answer["id"]: answer["state"] for answer in tried.answers}
    return paused[tried.values["IMPORT_ID"]] == "paused" and set(paused.values()) == {"paused"}


async def _restores_every_mail(tried: Tried) -> bool:
    """All mails are restored. A missing request ID could be sent twice."""
    count = "SELECT count(*) FROM mails"
    connection = await asyncpg.connect(tried.values["NEW_DATABASE_URL"])
    try:
        restored = await connection.fetchval(count)
    finally:
        await connection.close()
    return bool(restored == await tried.situation.ledgers.fetchval("mail", count) > 0)


async def _ends_the_transaction(tried: Tried) -> bool:
    """It held back the change feed until the command ended it."""
    holder = "SELECT pid FROM feed_holder()"
    pid = int(tried.values["PID"])
    await eventually(lambda: tried.situation.ledgers.fetchval("mail", holder), lambda found: found != pid)
    return "t" in tried.result.output.split()


def _every_check(tried: Tried) -> bool:
    return all(
        {"severity", "violations", "fixed", "examples", "error"} <= check.keys() and check["last_run_at"]
        for answer in tried.answers
        for check in answer["items"]
    )


def _log(tried: Tried) -> bool:
    return '"event"' in tried.result.output


def _rows(*words: str) -> Holds:
    """A psql table that contains these words."""
    return lambda tried: all(word in tried.result.output for word in (*words, "row"))


_RESOLVE = 'mail /v1/mails/MAIL_ID/resolve -d \'{"as": "%s", "reason": "%s"}\''

_SINCE = "2026-03-01T12:00:00Z"
_SENT_UNKNOWN_TO_SIGNUP = (
    'comm -23 <(psql "$MAIL_DATABASE_URL" -Atc '
    "\"SELECT request_id FROM mails WHERE client = 'signup' AND sent_at > now() - interval '1 hour'\" | sort) "
    '<(psql "$SIGNUP_DATABASE_URL" -Atc '
    "\"SELECT request_id FROM mail_outcomes WHERE sent_at > now() - interval '2 hours'\" | sort)"
)

TRIALS: dict[str, Trial] = {
    # First look.
    "signup /health": trial(_has_checks("worker")),
    "mail /health": trial(_has_checks("worker_heartbeat")),
    "signup /health; mail /health": trial(_has_checks("outbox_oldest_due", "oldest_due_mail")),
    "signup /audit/alerts": trial(_lists_open_incidents_first, OPEN=Situation.open_incident),
    "mail /audit/alerts": trial(lambda tried: isinstance(tried.only["items"], list)),
    "signup /audit/alerts; mail /audit/alerts": trial(_lists_open_incidents_first, OPEN=Situation.open_incident),
    "signup /audit/checks": trial(_every_check),
    "mail /audit/checks": trial(_every_check),
    "signup /audit/checks; mail /audit/checks": trial(_every_check),
    # People, mails, rows.
    'signup "/v1/users?email=asa@example.com"': trial(lambda tried: tried.shows("USER_ID"), USER_ID=_asa),
    "signup /v1/users/USER_ID": trial(lambda tried: bool(tried.only["email"] == ASA), USER_ID=_asa),
    "signup /audit/users/USER_ID": trial(
        lambda tried: bool(
            tried.only["complete"] and {"signup", "mail"} == {i["service"] for i in tried.only["items"]}
        ),
        USER_ID=_asa,
    ),
    'signup "/audit/history?subject=ID"; mail "/audit/history?subject=ID"': trial(
        lambda tried: len(tried.answers) == 2 and all(answer["items"] for answer in tried.answers),
        ID=Situation.delivered_row,
    ),
    'signup "/audit/history?subject=USER_ID"': trial(lambda tried: bool(tried.only["items"]), USER_ID=_asa),
    'signup "/audit/history?subject=ROW_ID"': trial(lambda tried: bool(tried.only["items"]), ROW_ID=_row),
    'mail "/v1/mails?request_id=OUTBOX_ROW_ID"': trial(
        lambda tried: tried.shows("OUTBOX_ROW_ID", "request_id"), OUTBOX_ROW_ID=Situation.delivered_row
    ),
    'mail "/v1/mails?request_id=ROW_ID"': trial(
        lambda tried: tried.shows("ROW_ID", "request_id"), ROW_ID=Situation.delivered_row
    ),
    "mail /v1/mails/MAIL_ID": trial(lambda tried: bool(tried.only["id"] == tried.values["MAIL_ID"]), MAIL_ID=_queued),
    "mail /v1/mails/MAIL_ID/attempts": trial(
        lambda tried: "No such person here" in tried.result.output, MAIL_ID=_failed
    ),
    "mail /v1/mails/MAIL_ID/history": trial(lambda tried: bool(tried.only["items"]), MAIL_ID=_failed),
    "mail /v1/mails/MAIL_ID/history; mail /v1/mails/MAIL_ID/attempts": trial(
        lambda tried: all(answer["items"] for answer in tried.answers), MAIL_ID=_failed
    ),
    "signup /v1/stats/signups": trial(lambda tried: bool(tried.only["items"])),
    'mail "/v1/suppressions?source=smtp&after=SINCE" -X DELETE': trial(
        lambda tried: tried.only == {"deleted": 1}, SINCE=Situation.suppressed_since
    ),
    """mail /v1/mails/retry -d '{"state": "failed", "after": "SINCE"}'""": trial(
        lambda tried: tried.only == {"retried": 1}, SINCE=Situation.failed_since
    ),
    "python -m services.mail suppressions delete --source smtp --after SINCE": trial(
        lambda tried: tried.lines == ["deleted 1"], SINCE=Situation.suppressed_since
    ),
    "python -m services.mail mails retry --state failed --after SINCE": trial(
        lambda tried: tried.lines == ["retried 1"], SINCE=Situation.failed_since
    ),
    'mail "/v1/suppressions?limit=20"': trial(lambda tried: bool(tried.only["items"])),
    'signup "/v1/users?unreachable=true"': trial(lambda tried: tried.only["items"] == []),
    'signup "/v1/users?status=pending"': trial(
        lambda tried: {user["status"] for user in tried.only["items"]} <= {"pending"}
    ),
    'mail "/v1/suppressions?email=asa@example.com"': trial(lambda tried: isinstance(tried.only["items"], list)),
    "mail /v1/suppressions/asa@example.com -X DELETE": trial(
        lambda tried: tried.result.output == "", SUPPRESSED=Situation.suppressed_asa
    ),
    "mail /v1/suppressions": trial(lambda tried: bool(tried.only["items"])),
    # Outbox rows.
    'signup "/audit/outbox?state=dead"': trial(lambda tried: tried.shows("DEAD"), DEAD=_dead),
    'signup "/audit/outbox?state=dead&effect=webhook"': trial(lambda tried: tried.shows("DEAD"), DEAD=_webhook),
    'signup "/audit/outbox?state=pending"': trial(lambda tried: tried.shows("ROW_ID"), ROW_ID=_row),
    'signup "/audit/outbox?state=pending&effect=mail"': trial(
        lambda tried: {row["effect"] for row in tried.only["items"]} <= {"mail"}
    ),
    "signup /audit/outbox/ROW_ID/retry -X POST": trial(_is("pending"), ROW_ID=_dead),
    "signup /audit/outbox/ROW_ID/cancel -X POST": trial(_is("canceled"), ROW_ID=_dead),
    'signup /audit/outbox/retry -d \'{"state": "dead", "effect": "mail", "error_like": "503"}\'': trial(
        _is_pending_again, DEAD=_dead
    ),
    "python -m services.signup outbox list --state dead": trial(
        lambda tried: tried.values["DEAD"] in [answer["id"] for answer in tried.answers], DEAD=_dead
    ),
    "python -m services.signup outbox show ROW_ID": trial(_is("dead"), ROW_ID=_dead),
    "python -m services.signup outbox retry ROW_ID": trial(_is("pending"), ROW_ID=_dead),
    "python -m services.signup outbox cancel ROW_ID": trial(_is("canceled"), ROW_ID=_dead),
    "python -m services.signup outbox redrive --state dead --effect mail --error-like 503": trial(
        _is_pending_again, DEAD=_dead
    ),
    "python -m services.signup outbox redrive --state dead --error-like 'part of last_error'": trial(
        _is_pending_again, DEAD=_dead
    ),
    "python -m services.signup outbox redrive --state dead --effect webhook": trial(_is_pending_again, DEAD=_webhook),
    # Mails.
    'mail "/v1/mails?state=queued&limit=5"': trial(lambda tried: tried.shows("MAIL_ID"), MAIL_ID=_queued),
    'mail "/v1/mails?state=uncertain"': trial(lambda tried: bool(tried.only["items"][0]["message_id"])),
    "mail /v1/mails/MAIL_ID/cancel -X POST": trial(_is("canceled"), MAIL_ID=_queued),
    "mail /v1/mails/MAIL_ID/retry -X POST": trial(_is("queued"), MAIL_ID=_failed),
    _RESOLVE % ("sent", "the recipient has it"): trial(_is("sent"), MAIL_ID=_uncertain),
    _RESOLVE % ("sent", "the gateway log has its 250"): trial(_is("sent"), MAIL_ID=_uncertain),
    _RESOLVE % ("resend", "not in the gateway log"): trial(_is("queued"), MAIL_ID=_uncertain),
    _RESOLVE % ("abandon", "too late now"): trial(_is("canceled"), MAIL_ID=_uncertain),
    "mail /v1/gateways": trial(
        lambda tried: bool(tried.only["items"][0]["name"] == "scripted" and "last_fault" in tried.only["items"][0])
    ),
    # Checks.
    "signup /audit/checks/run -X POST; mail /audit/checks/run -X POST": trial(_every_check),
    "mail /audit/checks/run -X POST": trial(_every_check),
    "python -m services.signup audit run-checks": trial(
        lambda tried: {"dead_for_a_day"} <= {check["name"] for check in tried.answers if check["violations"]},
        status=1,
        DEAD=Situation.row_dead_for_two_days,
    ),
    'signup "/audit/history?kind=partition.dropped"; mail "/audit/history?kind=partition.dropped"': trial(
        lambda tried: [answer["items"] for answer in tried.answers] == [[], []]
    ),
    # The ledgers.
    "signup /audit/reconciliation": trial(lambda tried: bool(tried.only["id"]), RUN_ID=Situation.reconciliation_run),
    'signup "/audit/reconciliation/findings?healed=false"': trial(lambda tried: tried.only["items"] == []),
    "signup /audit/reconciliation/run -d '{\"heal\": true}'": trial(_is("running")),
    "signup /audit/reconciliation/RUN_ID": trial(
        lambda tried: bool(tried.only["id"] == tried.values["RUN_ID"]), RUN_ID=Situation.reconciliation_run
    ),
    # People.
    'signup /v1/verifications/resend -d \'{"email": "asa@example.com"}\'': trial(
        lambda tried: bool(tried.only["status"] == "accepted")
    ),
    "signup /v1/users/USER_ID -X DELETE": trial(_is_erased, USER_ID=_user),
    # Keys.
    "python -m services.mail keys list": trial(lambda tried: "\tsignup\tlive\t" in tried.result.output),
    "python -m services.mail keys create --client signup --scope mails:send --scope mails:read --scope mails:operate": (
        trial(_opens_the_mail_service)
    ),
    # Health, logs, databases.
    'curl -sS "$MAIL_URL/health/ready"': trial(lambda tried: bool(tried.only["status"] == "pass")),
    "tail -n 50 var/log/signup-worker.log": trial(_log),
    "tail -n 50 var/log/mail-worker.log": trial(_log),
    "tail -n 50 var/log/signup-api.log": trial(_log),
    "tail -n 50 var/log/mail-api.log": trial(_log),
    "tail -n 50 var/log/signup-worker.log; tail -n 50 var/log/mail-worker.log": trial(_log),
    'psql "$SIGNUP_DATABASE_URL" -c "SELECT pid, state, wait_event, left(query, 60) FROM pg_stat_activity"': trial(
        _rows("wait_event")
    ),
    'psql "$SIGNUP_DATABASE_URL" -c "UPDATE stranger_mail_budget SET spent_until = now()"': trial(
        lambda tried: tried.lines == ["UPDATE 1"]
    ),
    'psql "$SIGNUP_DATABASE_URL" -c "SELECT ensure_partitions(3)"': trial(_rows("ensure_partitions")),
    'psql "$MAIL_DATABASE_URL" -c "SELECT ensure_partitions(3)"': trial(_rows("ensure_partitions")),
    'psql "$SIGNUP_DATABASE_URL" -c "SELECT * FROM drop_oldest_partition(\'outbox_settled\', 13)"': trial(
        _rows("outcome")
    ),
    'psql "$SIGNUP_DATABASE_URL" -c "SELECT pid, xact_start, left(query, 60) FROM pg_stat_activity ORDER BY 2"': trial(
        _rows("xact_start")
    ),
    'psql "$MAIL_DATABASE_URL" -c "SELECT pid, datname, usename, xact_start FROM pg_stat_activity '
    'WHERE backend_xid IS NOT NULL ORDER BY age(backend_xid) DESC"': trial(_rows("xact_start")),
    'psql "$MAIL_DATABASE_URL" -c "SELECT gid, database, owner, prepared FROM pg_prepared_xacts ORDER BY prepared"': (
        trial(_rows("prepared"))
    ),
    'psql "$SIGNUP_DATABASE_URL" -c "SELECT pg_terminate_backend(PID)"': trial(
        _ends_the_transaction, PID=Situation.open_transaction
    ),
    'psql "$SIGNUP_DATABASE_URL" -c "SELECT erase_user_payloads(ARRAY[\'USER_ID\']::uuid[])"': trial(
        lambda tried: tried.result.output.split()[2] == "1", USER_ID=Situation.remembered_user
    ),
    # Restoring.
    'pg_dump --format=custom --file=signup.dump "$SIGNUP_DATABASE_URL"': trial(
        lambda tried: (tried.situation.checkout / "signup.dump").stat().st_size > 0
    ),
    'pg_restore --exit-on-error --dbname="$MAIL_DATABASE_URL" mail.dump': trial(
        _restores_every_mail,
        first='pg_dump --format=custom --file=mail.dump "$MAIL_DATABASE_URL"; MAIL_DATABASE_URL=NEW_DATABASE_URL',
        NEW_DATABASE_URL=Situation.empty_database,
    ),
    'psql "$MAIL_DATABASE_URL" -c "SELECT rebase_feed()"': trial(_rows("rebase_feed")),
    'psql "$MAIL_DATABASE_URL" -c "SELECT client, url, last_error, count(*) FROM webhook_deliveries_settled d JOIN '
    "webhook_subscribers s ON s.id = d.subscriber_id WHERE outcome = 'dead' AND settled_at > now() - interval '1 day' "
    'GROUP BY 1, 2, 3"': trial(lambda tried: tried.values["SUBSCRIBER"] in tried.result.output, SUBSCRIBER=_delivery),
    "python -m services.signup imports pause": trial(_pauses, IMPORT_ID=Situation.running_import),
    "python -m services.signup imports list": trial(
        lambda tried: tried.values["IMPORT_ID"] in [answer["id"] for answer in tried.answers],
        IMPORT_ID=Situation.paused_import,
    ),
    "python -m services.signup imports skip IMPORT_ID < mailed": trial(
        lambda tried: tried.only == {"id": tried.values["IMPORT_ID"], "skipped": 1}, IMPORT_ID=Situation.paused_import
    ),
    "python -m services.signup imports resume IMPORT_ID": trial(_is("running"), IMPORT_ID=Situation.paused_import),
    f"pages mail \"/v1/mails?client=signup&accepted_after={_SINCE}\" | jq -r '.to.email // empty' > mailed": trial(
        lambda tried: ASA in tried.file("mailed")
    ),
    f"pages mail \"/audit/history?kind=mail.erased&after={_SINCE}\" | jq -r '.related[2:][]' | sort -u > erased": trial(
        lambda tried: tried.values["USER_ID"] in tried.file("erased"), USER_ID=Situation.user_erased_in_the_mail_service
    ),
    'while read -r id; do signup "/v1/users/$id" -X DELETE; done < erased': trial(
        _is_erased, first="echo USER_ID > erased", USER_ID=_user
    ),
    'pages signup "/audit/history?kind=user.erased&kind=user.pending_removed&after='
    f'{_SINCE}" | jq -r .subject > erased': trial(
        lambda tried: tried.values["USER_ID"] in tried.file("erased"), USER_ID=Situation.erased_user
    ),
    """while read -r id; do mail /v1/erasures -d '{"metadata": {"user_id": "'"$id"'"}}'; done < erased""": trial(
        lambda tried: bool(tried.only["erased"] == 1), first="echo USER_ID > erased", USER_ID=Situation.user_with_a_mail
    ),
    _SENT_UNKNOWN_TO_SIGNUP: trial(
        lambda tried: tried.values["UNKNOWN"] in tried.lines and tried.values["KNOWN"] not in tried.lines,
        UNKNOWN=Situation.sent_and_unknown_to_signup,
        KNOWN=Situation.sent_and_known_to_signup,
    ),
    "signup /audit/reconciliation/run -X POST": trial(_is("running")),
    # No run ends here: the worker is dead.
    'pages signup "/audit/reconciliation/findings?kind=unexpected"': trial(lambda tried: tried.answers == []),
    'pages signup "/audit/reconciliation/findings?healed=false"': trial(lambda tried: tried.answers == []),
    "signup /audit/reconciliation/run -X POST; signup /audit/reconciliation": trial(
        lambda tried: len({answer["id"] for answer in tried.answers}) == 1
    ),
    'pages mail "/v1/mails?state=queued&state=deferred&state=sending"': trial(
        lambda tried: tried.values["MAIL_ID"] in [answer["id"] for answer in tried.answers], MAIL_ID=_queued
    ),
    'mail "/v1/mails?request_id=REQUEST_ID"': trial(
        lambda tried: tried.shows("REQUEST_ID", "request_id"), REQUEST_ID=Situation.delivered_row
    ),
    "python -m services.signup keys list": trial(lambda tried: "\toperator\tlive\t" in tried.result.output),
}
