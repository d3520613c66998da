"""Every page, empty and full: well-formed, under its policy, and with nothing in it that came as HTML."""

from uuid import uuid4

import httpx
import pytest

from tests.support.console import Operated, browsing, check

from .conftest import Desk, Open, Operator

pytestmark = pytest.mark.asyncio(loop_scope="module")

NO_ID = "01890a5d-ac96-774b-bcce-b302099a8057"  # the same in each worker of pytest-xdist

ROOMS = (
    "/console", "/console/people", "/console/mails", "/console/uncertain", "/console/suppressions", "/console/outbox",
    "/console/imports", "/console/reconciliation", "/console/reconciliation/findings", "/console/checks",
    "/console/gateways", "/console/webhooks", "/console/history",
)  # fmt: skip
NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"
# A name that a signup takes; what a gateway says has no such limit.
NAME = '<b>Bo</b> <i>"O\'Neil"</i> & Söhne'
WORDS = "550 5.7.1 <img src=x onerror=alert(3)> {{7*7}} </td></table>"


async def test_every_page_shows_that_there_is_nothing(operator: Operator) -> None:
    for path in ROOMS:
        check(await operator.get(path))
    assert "No mail is uncertain" in (await operator.get("/console/uncertain")).text
    assert "Not compared yet" in (await operator.get("/console")).text
    assert "No person has signed up yet" in (await operator.get("/console/people")).text


async def test_every_page_shows_names_and_words_of_gateways_as_text(desk: Desk, operator: Operator) -> None:
    user_id = await desk.sign_up("bo@example.org", NAME)
    await desk.relay()
    mail_id = await operator.ask_for_mail(
        "other@example.org", subject=NASTY[:100], tags=[NASTY[:20]], metadata={"order": NASTY}
    )
    await desk.deliver({"RCPT": WORDS})
    of_user = "SELECT id FROM outbox_settled WHERE effect = 'mail' AND user_id = $1::uuid"
    row_id = await desk.signup.database.pool.fetchval(of_user, user_id)
    await desk.signup.as_owner(
        "INSERT INTO outbox (effect, payload, state, due_at, attempts, last_error, dead_at, expires_at)"
        " VALUES ('mail', '{}', 'dead', NULL, 3, $1, now(), now())",
        NASTY,
    )
    paths = (
        *ROOMS, f"/console/people/{user_id}", f"/console/mails/{mail_id}", f"/console/mails/{mail_id}?content=yes",
        f"/console/outbox/{row_id}", "/console/people?q=Neil", f"/console/history?subject={mail_id}",
    )  # fmt: skip
    pages = {path: check(await operator.get(path)) for path in paths}
    for path, page in pages.items():
        assert "<img src=x" not in page.html, path
        assert "<script>alert" not in page.html, path
        assert "<b>Bo" not in page.html, path
    assert NAME in pages[f"/console/people/{user_id}"].text
    assert WORDS in pages[f"/console/people/{user_id}"].text
    assert NASTY in pages["/console/outbox"].text
    assert NASTY[:100] in pages[f"/console/mails/{mail_id}"].text
    assert NAME in pages["/console/people?q=Neil"].text


async def test_the_overview_shows_the_way_with_its_numbers(desk: Desk, stranger: Operated) -> None:
    await desk.relay()
    for number in range(3):
        await desk.sign_up(f"waits-{number}@example.org", "Wanda")
    page = check(await stranger.sign_in((await desk.key("looks")).text))
    assert "3 waiting" in page.text
    assert "in the last hour" in page.text
    pictures = [values for tag, values in page.tags if tag == "svg"]
    assert [values["class"] for values in pictures] == ["picture wide", "picture tall"]
    stages = [href for href, text in page.links if text in {"mail", "stats", "live", "bulk", "uncertain"}]
    assert len(stages) == 5


async def test_a_persons_page_has_both_books_and_the_gateways_words(desk: Desk, operator: Operator) -> None:
    user_id = await desk.sign_up("una@example.org", "Una")
    page = check(await operator.get(f"/console/people/{user_id}"))
    assert "owed and waits in the outbox" in page.text
    await desk.relay()
    await desk.deliver({"RCPT": "450 4.2.1 come back later, Una"})
    page = check(await operator.get(f"/console/people/{user_id}"))
    assert "The books agree." in page.text
    assert "450 4.2.1 come back later, Una" in page.text
    assert "put the mail with the link off" in page.text
    # The order of the way: signed up, handed over, accepted, tried.
    steps = ["Signed up", "Handed over: mail", "The mail service accepted the mail", "The gateway put it off"]
    assert all(step in page.text for step in steps)


async def test_a_record_that_one_book_lost_is_shown_as_a_difference(desk: Desk, operator: Operator) -> None:
    user_id = await desk.sign_up("lost@example.org", "Lou")
    await desk.relay()
    mail = "(SELECT id FROM mails WHERE to_key = 'lost@example.org')"
    for table, column in (("queue", "mail_id"), ("contents", "mail_id"), ("mails", "id")):
        await desk.mail.as_owner(f"DELETE FROM {table} WHERE {column} IN {mail}")
    assert "deleted" in (await operator.get(f"/console/people/{user_id}")).text
    await desk.mail.as_owner("DELETE FROM lost_mails")
    page = await operator.get(f"/console/people/{user_id}")
    assert "The books differ." in page.text
    assert "handed over here, missing there" in page.text


@pytest.mark.parametrize(
    "path",
    [f"/console/people/{NO_ID}", f"/console/mails/{NO_ID}", f"/console/outbox/{NO_ID}",
     f"/console/imports/{NO_ID}", f"/console/reconciliation/{NO_ID}", f"/console/webhooks/signup/{NO_ID}",
     f"/console/webhooks/mail/{NO_ID}", "/console/runbook/no-such-alert", "/console/people/not-an-id", "/console/x"],
)  # fmt: skip
async def test_what_is_not_there_is_a_page_that_says_so(operator: Operator, path: str) -> None:
    check(await operator.get(path), status=404)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/console/mails?state=lost", "state"),
        ("/console/mails?accepted_after=yesterday", "accepted_after"),
        ("/console/mails?metadata_key=order", "metadata_value"),
        ("/console/mails?to=not-an-address", "to"),
        ("/console/mails?cursor=nonsense", "cursor"),
        ("/console/outbox?effect=nothing", "effect"),
        ("/console/outbox?user_id=1", "user_id"),
        ("/console/outbox?cursor=!", "cursor"),
        ("/console/history?after=9999-99-99", "after"),
        ("/console/reconciliation/findings?kind=odd", "kind"),
        ("/console/people?q=%00", "the request"),
        ("/console/people?q=%ff", "the request"),
    ],
)
async def test_a_wrong_filter_is_refused_and_named(operator: Operator, path: str, field: str) -> None:
    page = check(await operator.get(path), status=422)
    assert field in page.text


async def test_without_the_mail_service_signups_half_is_shown(open_desk: Open) -> None:
    desk = await open_desk(mail_url="http://127.0.0.1:9")
    user_id = await desk.sign_up("half@example.org", "Hal")
    async with browsing(desk.url) as browser:
        await browser.sign_in((await desk.key("half")).text)
        for path in (*ROOMS, f"/console/people/{user_id}", "/console/people?q=Hal"):
            page = check(await browser.get(path))
            assert "half is shown." in page.text, path
        person = await browser.get(f"/console/people/{user_id}")
        assert "Signed up" in person.text
        assert "the mail service could not be asked" in person.text
        refused = await browser.post(
            f"/console/mails/{uuid4()}/retry", {"token": dict(person.form("/console/sign-out").fields)["token"]}
        )
        check(refused, status=502)


async def test_a_page_is_under_its_policy_for_the_files_it_loads(desk: Desk, operator: Operator) -> None:
    page = await operator.get("/console")
    files = [values.get("src") or values["href"] for tag, values in page.tags if tag in {"script", "img", "link"}]
    async with httpx.AsyncClient(base_url=desk.url) as http:  # the sign-in page needs them too
        for file in set(files):
            answer = await http.get(file)
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
            assert answer.headers["x-content-type-options"] == "nosniff"
        for wrong in ("/console/static/0/style.css", "/console/static/x/y/z"):
            assert (await http.get(wrong)).status_code == 404


async def test_alerts_lead_to_their_section_of_the_runbook(operator: Operator) -> None:
    page = check(await operator.get("/console/runbook/uncertain_mails"))
    assert "People:" in page.text
    checks = await operator.get("/console/checks")
    for href in {href for href in checks.hrefs() if "/runbook/" in href}:
        check(await operator.get(href))
