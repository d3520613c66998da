"""The check `sender_dns` against a real name server: silent on good records, one finding for each fault."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from services.mail.app import create_app
from services.mail.audit.alerts import make_alert_loop
from services.mail.audit.sender_dns import Lookup, find_faults, sender_dns_check
from services.mail.audit.sender_settings import Senders
from services.mail.settings import Settings
from shared.audit.sanity_checks import Finding
from tests.support.apis import Api, running
from tests.support.databases import Clone
from tests.support.name_server import BROKEN, SILENT, NameServer, name_server

from .conftest import MAIL_SCOPES

# Real endings, because reserved ones are never looked up. None of these names leaves this machine.
SHOP, GATEWAY, PUBLIC = "shop-of-asa.net", "smtp.gateway-of-asa.net", "9.8.7.6"
GOOD = {
    f"{SHOP} TXT": ["some-site-verification=1", f"v=spf1 ip4:{PUBLIC} -all"],
    f"_dmarc.{SHOP} TXT": ["v=DMARC1; p=none; rua=mailto:dmarc@shop-of-asa.net"],
    f"s1._domainkey.{SHOP} TXT": ["v=DKIM1; k=rsa; p=" + "MIIB" * 90],
    f"{GATEWAY} A": [PUBLIC],
    "local.gateway-of-asa.net A": ["10.0.0.7"],
    "eu.provider-of-asa.net A": ["9.9.9.1"],
    "spf.provider-of-asa.net TXT": ["v=spf1 ip4:9.9.9.128/25 ~all"],
}


def settings(server: NameServer, **more: Any) -> Settings:
    chosen = {"mail_from": f"Shop <no-reply@{SHOP}>", "mail_gateways": f"smtp://{GATEWAY}?name=g"}
    return Settings(mail_dns_server=f"127.0.0.1:{server.port}", **(chosen | more))


async def found(zone: dict[str, list[str]], **more: Any) -> list[Finding]:
    async with name_server({key: texts for key, texts in (GOOD | zone).items() if texts}) as server:
        return list(await sender_dns_check(settings(server, **more)).find())


def spf(record: str) -> dict[str, list[str]]:
    return {f"{SHOP} TXT": [f"v=spf1 {record}"]}


def includes(count: int) -> dict[str, list[str]]:
    """A record that takes `count` lookups, by one include in another."""
    chain = {f"s{n}.{SHOP} TXT": [f"v=spf1 include:s{n + 1}.{SHOP} -all"] for n in range(1, count)}
    return spf(f"ip4:{PUBLIC} include:s1.{SHOP} -all") | chain | {f"s{count}.{SHOP} TXT": ["v=spf1 -all"]}


BY_PROVIDER = {"mail_gateways": "smtps://eu.provider-of-asa.net?name=g"}
RIGHT: dict[str, tuple[dict[str, list[str]], dict[str, Any]]] = {
    "address": ({}, {"mail_dkim_selectors": f"s1,{SHOP}=s1"}),
    "own address": (spf("a:mail.shop-of-asa.net/24 -all") | {"mail.shop-of-asa.net A": ["9.8.7.200"]}, {}),
    "mail exchanger": (spf("mx -all") | {f"{SHOP} MX": [f"10 {GATEWAY}."]}, {}),
    "IPv6": (spf("-ip4:9.8.7.0/24 ip6:2600:db8::/32 ~all") | {f"{GATEWAY} AAAA": ["2600:db8:7::1"]}, {}),
    "included": (spf(f"include:s.{SHOP} -all") | {f"s.{SHOP} TXT": [f"v=spf1 +ip4:{PUBLIC} -all"]}, {}),
    "redirected": (spf(f"redirect=s.{SHOP}") | {f"s.{SHOP} TXT": [f"v=spf1 ip4:{PUBLIC} -all"]}, {}),
    "ten lookups": (includes(10), {}),
    "the provider's own record": (spf("include:spf.provider-of-asa.net -all"), BY_PROVIDER),
    "another name of the provider": (
        spf("include:spf.provider-of-asa.net -all"),
        {"mail_gateways": f"smtp://{GATEWAY}?name=g&spf=provider-of-asa.net"},
    ),
    "a known provider": (
        spf("include:amazonses.com -all") | {"amazonses.com TXT": ["v=spf1 ip4:9.9.9.9 -all"]},
        {"mail_gateways": "smtp://email-smtp.eu-central-1.amazonaws.com?provider=ses"},
    ),
    "the address behind a translator": ({}, {"mail_gateways": f"smtp://127.0.0.1?spf={PUBLIC}"}),
    "no gateway to name": (spf("-all"), {"mail_gateways": "smtp://127.0.0.1,smtp://local.gateway-of-asa.net,smtp://m"}),
    "told not to": (spf("-all"), {"mail_gateways": f"smtp://{GATEWAY}?spf=no"}),
    "a policy and a key above": (
        {f"news.{SHOP} TXT": [f"v=spf1 ip4:{PUBLIC} -all"]},
        {"mail_sender_domains": f"news.{SHOP}", "mail_dkim_selectors": f"{SHOP}=s1"},
    ),
    "a domain for bounces": (
        spf("-all") | {f"bounces.{SHOP} TXT": [f"v=spf1 ip4:{PUBLIC} -all"]},
        {"mail_bounce_domain": f"bounces.{SHOP}"},
    ),
}


@pytest.mark.parametrize("name", RIGHT)
async def test_good_records_are_no_findings(name: str) -> None:
    zone, chosen = RIGHT[name]
    assert await found(zone, **chosen) == []


UNNAMED = "has an SPF record that does not name the gateway g"
WRONG: dict[str, tuple[dict[str, list[str]], dict[str, Any], str]] = {
    "no SPF": ({f"{SHOP} TXT": []}, {}, "has no SPF record"),
    "two SPF": ({f"{SHOP} TXT": ["v=spf1 -all", "v=spf1 ?all"]}, {}, "has 2 SPF records"),
    "unreadable SPF": (spf("ip4:9.8.7 -all"), {}, "has an SPF record that receivers cannot read: ip4:9.8.7"),
    "misspelled SPF": (spf("includes:x.net"), {}, "has an SPF record that receivers cannot read: includes:x.net"),
    "included nothing": (
        spf("include:gone.net"),
        {},
        "has an SPF record that includes gone.net, which has no SPF record",
    ),
    "eleven lookups": (includes(11), {}, "has an SPF record that takes more than 10 lookups"),
    "a circle": (spf(f"include:{SHOP}"), {}, "has an SPF record that takes more than 10 lookups"),
    "another address": (spf("ip4:9.8.7.7 ip4:9.8.7.8/31 -all"), {}, UNNAMED),
    "denied first": (spf(f"-ip4:{PUBLIC} +all"), {}, UNNAMED),
    "only soft": (spf("~all"), {}, UNNAMED),
    "an include that denies": (spf(f"include:s.{SHOP}") | {f"s.{SHOP} TXT": [f"v=spf1 -ip4:{PUBLIC}"]}, {}, UNNAMED),
    "a redirect after all": (spf("-all redirect=spf.provider-of-asa.net"), BY_PROVIDER, UNNAMED),
    "a provider denied": (spf("-include:spf.provider-of-asa.net ~all"), BY_PROVIDER, UNNAMED),
    "not the name told": ({}, {"mail_gateways": f"smtp://{GATEWAY}?name=g&spf=provider-of-asa.net"}, UNNAMED),
    "another provider": (spf("include:spf.provider-of-asa.net -all"), {}, UNNAMED),
    "no DMARC": ({f"_dmarc.{SHOP} TXT": ["v=DMARC9"]}, {}, f"has no DMARC record at _dmarc.{SHOP}"),
    "two DMARC": ({f"_dmarc.{SHOP} TXT": ["v=DMARC1; p=none"] * 2 + ["v=DMARC1; p=reject"]}, {}, "has 2 DMARC records"),
    "no policy": ({f"_dmarc.{SHOP} TXT": ["v=DMARC1; p=maybe"]}, {}, "has a DMARC record without p=none"),
    "no such key": ({}, {"mail_dkim_selectors": "s2"}, f"has no DKIM key at s2._domainkey.{SHOP}"),
    "a revoked key": (
        {f"s1._domainkey.{SHOP} TXT": ["v=DKIM1; p="]},
        {"mail_dkim_selectors": "s1"},
        "has a DKIM key at s1._domainkey.shop-of-asa.net that is revoked",
    ),
    "no key at all": (
        {f"s1._domainkey.{SHOP} TXT": []},
        {},
        f"has no DKIM key: nothing exists below _domainkey.{SHOP}",
    ),
}


@pytest.mark.parametrize("name", WRONG)
async def test_each_fault_is_one_finding_that_says_what_is_wrong(name: str) -> None:
    zone, chosen, what = WRONG[name]
    (finding,) = await found(zone, **chosen)
    assert (finding.id, finding.counts) == (SHOP, True)
    assert finding.what.startswith(what)


async def test_every_domain_of_a_sender_is_checked_and_the_envelopes_domain_must_name_the_gateway() -> None:
    findings = await found(
        {},
        mail_sender_domains=f"{SHOP},billing=invoices-of-asa.net",
        mail_gateways=f"smtp://{GATEWAY}?name=g&from=bounces@bounces-of-asa.net",
    )
    assert {(finding.id, finding.what[:18]) for finding in findings} == {
        ("invoices-of-asa.net", "has no SPF record"),
        ("invoices-of-asa.net", "has no DMARC recor"),
        ("invoices-of-asa.net", "has no DKIM key: n"),
        ("bounces-of-asa.net", "has no SPF record"),
    }


UNJUDGED: dict[str, tuple[dict[str, list[str]], str]] = {
    "a macro": (spf("exists:%{i}._spf.shop-of-asa.net -all"), "whether its SPF record names the gateway g"),
    "an unknown host": ({f"{GATEWAY} A": []}, "whether its SPF record names the gateway g"),
    "a broken server": ({f"_dmarc.{SHOP} TXT": [BROKEN]}, f"no answer about TXT of _dmarc.{SHOP}"),
}


@pytest.mark.parametrize("name", UNJUDGED)
async def test_what_cannot_be_judged_does_not_count(name: str) -> None:
    zone, what = UNJUDGED[name]
    (finding,) = await found(zone)
    assert finding == Finding(SHOP, f"could not be judged: {what}", counts=False)


async def test_nothing_counts_while_dns_is_silent() -> None:
    async with name_server({"*": [SILENT]}) as server:
        lookup = Lookup(("127.0.0.1", server.port), seconds=0.2)
        findings = await find_faults(Senders.of(settings(server)), lookup)
    assert findings == [Finding(SHOP, "could not be judged: no answer about TXT of net", counts=False)]


async def test_nothing_counts_in_a_network_whose_dns_knows_no_other() -> None:
    async with name_server({"router.home TXT": ["x"]}) as server:
        (finding,) = await sender_dns_check(settings(server)).find()
    assert finding == Finding(SHOP, "could not be judged: the name server does not know .net", counts=False)


@pytest.mark.parametrize("off", [{"mail_dns_check": "off"}, {"mail_from": "Shop <no-reply@counterfoil.example>"}])
async def test_nothing_is_asked_when_it_is_off_or_the_domain_is_reserved(off: dict[str, str]) -> None:
    async with name_server(GOOD) as server:
        assert list(await sender_dns_check(settings(server, **off)).find()) == []
        assert server.asked == []


@pytest.fixture
async def bad_dns() -> AsyncIterator[NameServer]:
    async with name_server(GOOD | spf("-all") | {f"_dmarc.{SHOP} TXT": [BROKEN]}) as server:
        yield server


@pytest.fixture
async def api(mail_database: Clone, redis_url: str, bad_dns: NameServer) -> AsyncIterator[Api]:
    chosen = settings(bad_dns, mail_runtime_database_url=mail_database.runtime_url, redis_url=redis_url)
    async with running(create_app(chosen), mail_database.database) as api:
        yield api


async def test_an_operator_sees_the_findings_and_what_could_not_be_judged(api: Api) -> None:
    async with await api.as_client("operator", MAIL_SCOPES) as http:
        items = (await http.post("/audit/checks/run")).json()["items"]
    (result,) = [item for item in items if item["name"] == "sender_dns"]
    assert (result["severity"], result["violations"], result["fixes"], result["error"]) == ("warning", 1, False, None)
    assert result["examples"] == [
        {"id": SHOP, "what": UNNAMED},
        {"id": SHOP, "what": f"could not be judged: no answer about TXT of _dmarc.{SHOP}"},
    ]


async def test_the_worker_asks_once_a_day_and_when_it_starts(
    mail_database: Clone, api: Api, bad_dns: NameServer
) -> None:
    chosen = settings(bad_dns)

    async def asks(loop: Any) -> bool:
        await mail_database.as_owner("UPDATE check_runs SET claimed_at = NULL")
        bad_dns.asked.clear()
        await loop.run_once()
        return bool(bad_dns.asked)

    loop = make_alert_loop(chosen, api.app.state.mail.intake, runs_checks=True)
    assert [await asks(loop), await asks(loop)] == [True, False]
    await mail_database.as_owner("UPDATE check_results SET last_run_at = now() - interval '25 hours'")
    assert [await asks(loop), await asks(loop)] == [True, False]
    assert await asks(make_alert_loop(chosen, api.app.state.mail.intake, runs_checks=True))
    rows = await api.database.pool.fetch("SELECT name, severity, subject FROM alerts WHERE closed_at IS NULL")
    assert [tuple(row) for row in rows if row["name"] == "sender_dns"] == [
        ("sender_dns", "warning", "repair what the check sender_dns found (1)")
    ]
