"""Undoing as a group what a gateway that refused everyone has done, by call and by command."""

import argparse
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from services.mail.cli import operators
from services.mail.settings import Settings
from shared.db.pool import Pool
from tests.integration.mail.conftest import ALL_SCOPES
from tests.support.apis import Api

_SUPPRESS = """
INSERT INTO suppressions (email_key, email, reason, source, created_at)
SELECT $1 || n || '@x.example', $1 || n || '@x.example', 'why', $1, $2::text::timestamptz + n * interval '1 minute'
FROM generate_series(0, $3::int - 1) AS n
"""
_FAIL = """
WITH failed AS (
    UPDATE mails SET state = 'failed', failure_reason = 'refused', failure_code = 550, failure_enhanced_code = $2,
        next_attempt_at = NULL, gateway = $3
    WHERE id = $1 RETURNING id
), dequeued AS (DELETE FROM queue WHERE mail_id = $1)
INSERT INTO attempts (mail_id, n, lease, phase, outcome, counted, claimed_at, ended_at)
SELECT id, 1, gen_random_uuid(), 'ended', 'refused', true, $4::text::timestamptz, $4::text::timestamptz FROM failed
"""


async def suppress(pool: Pool, source: str, at: str, count: int) -> None:
    await pool.execute(_SUPPRESS, source, at, count)


async def failed_mail(
    api: Api, client: httpx.AsyncClient, name: str, *, code: str = "5.1.1", gateway: str = "g", at: str
) -> str:
    mail = {"request_id": name, "to": {"email": f"{name}@x.example"}, "subject": "S", "text": "T"}
    mail_id = str((await client.post("/v1/mails", json=mail)).json()["id"])
    await api.database.pool.execute(_FAIL, mail_id, code, gateway, at)
    return mail_id


async def state_of(client: httpx.AsyncClient, mail_id: str) -> str:
    return str((await client.get(f"/v1/mails/{mail_id}")).json()["state"])


async def lines_of_history(pool: Pool, kind: str) -> list[tuple[str, str, int]]:
    rows = await pool.fetch("SELECT actor, detail::text, cardinality(related) FROM history WHERE kind = $1", kind)
    return [tuple(row) for row in rows]


async def test_suppressions_of_one_source_and_time_span_are_deleted_with_one_line_of_history(
    mail_api: Api, client: httpx.AsyncClient
) -> None:
    pool = mail_api.database.pool
    await suppress(pool, "smtp", "2026-01-31T12:00:00Z", 10)
    await suppress(pool, "complaint", "2026-01-31T12:00:00Z", 10)
    span = {"source": "smtp", "after": "2026-01-31T12:02:00Z", "before": "2026-01-31T12:05:00Z"}
    answer = await client.delete("/v1/suppressions", params=span)
    assert (answer.status_code, answer.json()) == (200, {"deleted": 3})
    left = await pool.fetch("SELECT source, count(*) FROM suppressions GROUP BY source ORDER BY source")
    assert [tuple(row) for row in left] == [("complaint", 10), ("smtp", 7)]
    ((actor, detail, named),) = await lines_of_history(pool, "suppressions.deleted")
    assert actor.startswith("key:shop/")
    assert ('"deleted": 3' in detail, '"2026-01-31T12:02:00Z"' in detail, "@" in detail) == (True, True, False)
    assert named == 3


async def test_deleting_suppressions_needs_a_source_and_the_scope(mail_api: Api, client: httpx.AsyncClient) -> None:
    await suppress(mail_api.database.pool, "smtp", "2026-01-31T12:00:00Z", 1)
    assert (await client.delete("/v1/suppressions")).status_code == 422
    async with await mail_api.as_client("reader", ["mails:read"]) as reader:
        assert (await reader.delete("/v1/suppressions", params={"source": "smtp"})).status_code == 403
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM suppressions") == 1


async def test_a_deletion_that_matches_nothing_leaves_no_history(mail_api: Api, client: httpx.AsyncClient) -> None:
    assert (await client.delete("/v1/suppressions", params={"source": "smtp"})).json() == {"deleted": 0}
    assert await lines_of_history(mail_api.database.pool, "suppressions.deleted") == []


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, {"a", "b", "c"}),
        ({"enhanced_code": "5.1.1"}, {"a", "b"}),
        ({"gateway": "other"}, {"b"}),
        ({"after": "2026-01-31T12:00:00Z"}, {"b", "c"}),
        ({"after": "2026-01-31T11:00:00Z", "before": "2026-01-31T12:30:00Z"}, {"a", "b"}),
    ],
)
async def test_all_matching_failed_mails_are_queued_again(
    mail_api: Api, client: httpx.AsyncClient, conditions: dict[str, str], expected: set[str]
) -> None:
    mails = {
        "a": await failed_mail(mail_api, client, "a", at="2026-01-31T11:00:00Z"),
        "b": await failed_mail(mail_api, client, "b", gateway="other", at="2026-01-31T12:00:00Z"),
        "c": await failed_mail(mail_api, client, "c", code="5.7.1", at="2026-01-31T13:00:00Z"),
    }
    answer = await client.post("/v1/mails/retry", json={"state": "failed", **conditions})
    assert (answer.status_code, answer.json()) == (200, {"retried": len(expected)})
    assert {name for name, mail_id in mails.items() if await state_of(client, mail_id) == "queued"} == expected
    assert await mail_api.database.pool.fetchval("SELECT count(*) FROM queue WHERE attempt = 1") == len(expected)


async def test_a_group_retry_leaves_the_mails_of_other_clients_alone(mail_api: Api, client: httpx.AsyncClient) -> None:
    mine = await failed_mail(mail_api, client, "mine", at="2026-01-31T12:00:00Z")
    async with await mail_api.as_client("other", ALL_SCOPES) as other:
        theirs = await failed_mail(mail_api, other, "theirs", at="2026-01-31T12:00:00Z")
        assert (await client.post("/v1/mails/retry", json={"state": "failed"})).json() == {"retried": 1}
        assert await state_of(other, theirs) == "failed"
    assert await state_of(client, mine) == "queued"


@pytest.mark.parametrize(
    "body",
    [{}, {"state": "sent"}, {"state": "failed", "enhanced_code": "x"}, {"state": "failed", "after": "yesterday"}],
)
async def test_a_group_retry_that_is_not_understood_changes_nothing(
    mail_api: Api, client: httpx.AsyncClient, body: dict[str, Any]
) -> None:
    mail_id = await failed_mail(mail_api, client, "a", at="2026-01-31T12:00:00Z")
    assert (await client.post("/v1/mails/retry", json=body)).status_code == 422
    assert await state_of(client, mail_id) == "failed"


async def run_command(api: Api, *typed: str) -> str:
    parser = argparse.ArgumentParser()
    operators.add_parsers(parser.add_subparsers(dest="command", required=True))
    return await operators.carry_out(parser.parse_args(typed), api.database, Settings(), user="ops")


async def test_the_commands_do_what_the_calls_do(mail_api: Api, client: httpx.AsyncClient) -> None:
    await suppress(mail_api.database.pool, "smtp", "2026-01-31T12:00:00Z", 4)
    after: Sequence[str] = ("--after", "2026-01-31T12:01:00Z")
    assert await run_command(mail_api, "suppressions", "delete", "--source", "smtp", *after) == "deleted 3"
    early = await failed_mail(mail_api, client, "early", at="2026-01-31T12:00:00Z")
    late = await failed_mail(mail_api, client, "late", at="2026-01-31T12:01:00Z")
    assert await run_command(mail_api, "mails", "retry", "--state", "failed", *after) == "retried 1"
    assert (await state_of(client, early), await state_of(client, late)) == ("failed", "queued")
    assert {actor for actor, _, _ in await lines_of_history(mail_api.database.pool, "mail.retried")} == {"cli:ops"}


async def test_a_command_says_what_a_time_looks_like(mail_api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        await run_command(mail_api, "suppressions", "delete", "--source", "smtp", "--after", "noon")
    assert "like 2026-01-31T12:00:00Z" in capsys.readouterr().err
