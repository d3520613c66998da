"""The dashboard's queries and the alert rules, run by a real Prometheus that scrapes the product under load.

Not named test_*: `make test` must not collect it, because it needs Prometheus. Grafana is not used: the tests run its
queries and do not render panels.
"""

import asyncio
import json
import re
from typing import Any

import pytest
import yaml

from tests.monitoring.prometheus import FOLDER, Prometheus, promtool
from tests.support.stack import Ledgers, eventually

RULES: dict[str, str] = {
    rule["alert"]: rule["expr"]
    for group in yaml.safe_load((FOLDER / "prometheus-alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
}
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
QUERIES = {
    f"{panel['title']}, {target['refId']}": target["expr"]
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", ())
}
# These have no value at all in a healthy product, not even below the threshold.
EMPTY_WHEN_HEALTHY = {"CounterfoilNothingIsScraped", "CounterfoilRequestsFail"}
SILENT_FOR_LONG = "UPDATE heartbeats SET at = at - interval '2 minutes'"


def without_threshold(expression: str) -> str:
    return re.sub(r"\s*(>|==)\s*[\d.]+$", "", expression.strip())


async def await_alert(prometheus: Prometheus, alert: str, *jobs: str) -> None:
    """Wait until the rule's expression is true for these jobs. `promtool test rules` covers its duration."""

    async def jobs_seen() -> set[str]:
        return {series["metric"].get("job", "") for series in await prometheus.query(RULES[alert])}

    await eventually(jobs_seen, lambda found: found >= set(jobs), what=alert)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "prometheus-alerts.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "prometheus-alerts.test.yml"),
    ],
    ids=" ".join,
)
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    done = promtool(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr


async def test_a_busy_product_has_data_for_every_query_of_the_dashboard_and_every_rule(
    ledgers: Ledgers, prometheus: Prometheus
) -> None:
    expected = QUERIES | {
        alert: without_threshold(expression) for alert, expression in RULES.items() if alert not in EMPTY_WHEN_HEALTHY
    }
    round_ = 0

    async def missing() -> list[str]:
        nonlocal round_
        round_ += 1
        answers = await asyncio.gather(*(ledgers.sign_up(f"busy-{round_}-{n}@example.com") for n in range(20)))
        assert {answer.status_code for answer in answers} == {202}
        await ledgers.anonymous.post("/v1/signups", json={})  # an answer that is an error
        await ledgers.signup.post("/audit/reconciliation/run", json={})
        return [where for where, query in expected.items() if not await prometheus.query(query)]

    await eventually(missing, lambda found: not found, what="data for everything")


@pytest.mark.usefixtures("ledgers")
async def test_prometheus_evaluates_every_rule_without_an_error_and_a_healthy_product_fires_none(
    prometheus: Prometheus,
) -> None:
    async def rules() -> list[dict[str, Any]]:
        return [rule for group in (await prometheus.ask("rules"))["groups"] for rule in group["rules"]]

    found = await eventually(
        rules, lambda rules: all(rule["health"] != "unknown" for rule in rules), what="a first evaluation"
    )
    assert {rule["name"] for rule in found} == RULES.keys()
    assert {(rule["health"], rule.get("lastError", "")) for rule in found} == {("ok", "")}
    assert {rule["name"] for rule in found if rule["state"] == "firing"} == set()


async def test_faults_of_the_real_product_match_the_rules(ledgers: Ledgers, prometheus: Prometheus) -> None:
    stack, both = ledgers.stack, ("counterfoil-signup", "counterfoil-mail")
    for worker in ("signup-worker", "mail-worker"):
        stack.kill(worker)
    for service in ("signup", "mail"):
        await ledgers.execute(service, SILENT_FOR_LONG)
    await await_alert(prometheus, "CounterfoilWorkerSilent", *both)
    stack.stop_server("postgres")
    await await_alert(prometheus, "CounterfoilDatabaseUnread", *both)

    async def requests_fail() -> bool:
        await ledgers.sign_up("refused@example.com")
        return bool(await prometheus.query(RULES["CounterfoilRequestsFail"]))

    await eventually(requests_fail, bool, what="CounterfoilRequestsFail")
    for api in ("signup-api", "mail-api"):
        stack.kill(api)
    await await_alert(prometheus, "CounterfoilApiDown", *both)
