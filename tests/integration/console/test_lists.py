"""Lists: every filter finds what it names, pages follow each other, and what is rare is looked for piece by piece."""

import re
from uuid import UUID

import pytest

from services.signup.console.pages import imports, mails, outbox
from tests.support.console import Shown, check

from .conftest import Desk, Operator

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTLED = """
INSERT INTO outbox_settled (id, effect, payload, outcome, attempts, created_at)
SELECT uuidv7(), 'stats', '{}', CASE n WHEN 1 THEN 'canceled' ELSE 'delivered' END, 1, now()
FROM generate_series(1, 7) n
RETURNING id
"""
IMPORT = """
WITH import AS (
    INSERT INTO imports (client, source, media, dry_run, mails_per_minute, state, row_count, done_through_line,
                         created, already_exists, body_digest, finished_at, actor)
    VALUES ($1, 'crm', 'csv', false, 100, 'done', 7, 7, 1, 6, sha256(''), now(), 'test') RETURNING id
), rows AS (
    INSERT INTO import_rows (import_id, line, outcome, reason, external_id)
    SELECT id, n, CASE n WHEN 7 THEN 'created' ELSE 'already_exists' END, CASE WHEN n < 7 THEN 'known' END, $1 || n
    FROM import, generate_series(1, 7) AS n
)
SELECT id FROM import
"""


async def _pages_until(operator: Operator, path: str, href_or_text: str) -> int:
    """How many pages of a list it takes to come to this link or text. Its pages before hold nothing."""
    page, pages = await operator.get(path), 1
    while href_or_text not in page.html:
        assert "here matches" in page.text
        page, pages = check(await operator.get(_older(page))), pages + 1
    return pages


def _older(page: Shown) -> str:
    (older,) = [href for href, text in page.links if text.startswith("Older")]
    return older


async def test_every_filter_of_the_list_of_mails_finds_its_mail(desk: Desk, operator: Operator) -> None:
    mail_id = await operator.ask_for_mail(
        "seven@example.org", request_id="invoice-7", tags=["invoice"], metadata={"order_id": "o-7", "total": 7}
    )
    other = await operator.ask_for_mail("eight@example.org")
    await desk.deliver({})
    message_id = (await operator.get(f"/console/mails/{mail_id}")).text.split("Message-ID ")[1].split()[0]
    for query in (
        "request_id=invoice-7", "to=seven@example.org", "to=SEVEN@EXAMPLE.ORG", "tag=invoice",
        "metadata_key=order_id&metadata_value=o-7", "metadata_key=total&metadata_value=7", "state=sent&tag=invoice",
        f"client={operator.client}&to=seven@example.org", f"message_id={message_id}",
        "accepted_after=2020-01-01T00:00&sent_after=2020-01-01T00:00&to=seven@example.org",
    ):  # fmt: skip
        page = check(await operator.get(f"/console/mails?{query}"))
        assert f"/console/mails/{mail_id}" in page.hrefs(), query
        assert f"/console/mails/{other}" not in page.hrefs(), query
    assert "No mail matches" in (await operator.get("/console/mails?sent_before=2020-01-01T00:00")).text


async def test_lists_go_on_where_the_page_before_ended(operator: Operator) -> None:
    for number in range(55):
        await operator.ask_for_mail("many@example.org", subject=f"No. {number}")
    first = await operator.get("/console/mails?to=many@example.org")
    (older,) = [href for href, text in first.links if text.startswith("Older")]
    second = check(await operator.get(older))
    on_first = {href for href in first.hrefs() if re.match(r"/console/mails/[0-9a-f-]{36}$", href)}
    on_second = {href for href in second.hrefs() if re.match(r"/console/mails/[0-9a-f-]{36}$", href)}
    assert (len(on_first), len(on_second), on_first & on_second) == (50, 5, set())
    history = await operator.get("/console/history")
    (older,) = [href for href, text in history.links if text.startswith("Older")]
    check(await operator.get(older))


async def test_a_rare_row_of_the_outbox_is_found_behind_many(
    desk: Desk, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_AMONG", 2)
    canceled: UUID = await desk.signup.database.pool.fetchval(SETTLED)
    rare = "/console/outbox?state=canceled&effect=stats"
    assert await _pages_until(operator, rare, f"/console/outbox/{canceled}") == 4


async def test_a_created_row_is_found_behind_many_of_an_import(
    desk: Desk, operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(imports, "_AMONG", 2)
    path = f"/console/imports/{await desk.signup.database.pool.fetchval(IMPORT, operator.client)}?outcome="
    assert await _pages_until(operator, f"{path}created", f"{operator.client}7") == 4
    everything = await operator.get(f"{path}created&outcome=already_exists")
    assert f"{operator.client}2" in everything.text
    assert f"{operator.client}3" in (await operator.get(_older(everything))).text


async def test_a_mail_is_found_behind_many_that_do_not_match(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mails, "_AMONG", 2)
    wanted = await operator.ask_for_mail("rare@example.org", tags=["rare"])
    for _ in range(6):
        await operator.ask_for_mail("common@example.org")
    path = f"/console/mails/{wanted}"
    await operator.submit(await operator.get(path), f"{path}/cancel")
    rare = f"/console/mails?state=canceled&client={operator.client}"
    assert await _pages_until(operator, rare, path) == 4


async def test_a_filter_that_has_an_index_is_not_cut_into_pieces(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mails, "_AMONG", 1)
    wanted = await operator.ask_for_mail("indexed@example.org", tags=[f"t{operator.client}"])
    await operator.ask_for_mail("common@example.org")
    for query in ("to=indexed@example.org&state=queued", f"tag=t{operator.client}&accepted_after=2020-01-01T00:00"):
        assert f"/console/mails/{wanted}" in (await operator.get(f"/console/mails?{query}")).hrefs(), query
