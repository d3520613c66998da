"""The dashboard, the alert rules and the scrape configuration use only metrics, labels and jobs that exist."""

import importlib.util
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.databases import ROOT
from tests.support.documented import Documented, documented

FOLDER = ROOT / "deploy" / "monitoring"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "prometheus-alerts.yml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text(encoding="utf-8"))
SCRAPES: dict[str, Any] = yaml.safe_load((FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
METRICS = documented("signup") | documented("mail")
# Prometheus adds the first two to every series; histograms have the last one.
ALWAYS = {"job", "instance", "le"}
OWN_METRICS = re.compile(r"\b(?:counterfoil|http|alerts|check|mail)_\w+")


def expressions() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]


EXPRESSIONS = list(expressions())


def metric_of(series: str) -> Documented:
    if series in METRICS:
        return METRICS[series]
    metric = METRICS[re.sub(r"_(bucket|count|sum)$", "", series)]
    assert metric.type == "histogram", f"{series} is not a histogram"
    return metric


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_a_query_uses_only_metrics_and_labels_that_exist(where: str, expression: str) -> None:
    without_values = re.sub(r'"[^"]*"', '""', expression)
    named = OWN_METRICS.findall(without_values)
    assert named or "up{" in without_values, f"{where} uses no metric"
    known = ALWAYS.union(*(metric_of(series).labels for series in named))
    groups = re.findall(r"\bby \(([^)]*)\)", without_values) + re.findall(r"\{([^}]*)\}", without_values)
    used = {label for group in groups for label in re.findall(r"[a-z_]+", group)}
    assert used <= known, where


@pytest.mark.parametrize(("where", "expression"), EXPRESSIONS, ids=[where for where, _ in EXPRESSIONS])
def test_a_query_never_sums_a_stage_over_the_processes_of_an_api(where: str, expression: str) -> None:
    for aggregate, argument in re.findall(r"\b(\w+)(?: by \([^)]*\))? ?\((?:rate\()?counterfoil_(\w+)", expression):
        assert aggregate in {"max", "min"}, f"{where}: {aggregate} of {argument}"


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alert_says_what_is_wrong_and_links_a_heading_of_the_runbook(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"] in ({"severity": "red"}, {"severity": "warning"})
    assert rule["annotations"]["summary"]
    document, _, anchor = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^#+ (.+)$", (ROOT / document).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_stage_is_on_the_dashboard() -> None:
    shown = " ".join(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ()))
    assert {name for name in METRICS if name.startswith("counterfoil_") and name not in shown} == set()


def test_no_panels_of_the_dashboard_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in DASHBOARD["panels"]):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert place["x"] + place["w"] <= 24
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(numbers) == len(set(numbers))


def test_the_dashboard_has_the_fields_that_a_grafana_import_requires() -> None:
    """By the schema of Grafana's dashboards, not by a running Grafana."""
    assert {"uid", "title", "schemaVersion", "panels", "templating", "time"} <= DASHBOARD.keys()
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == ("datasource", "datasource", "prometheus")
    source = {"type": "prometheus", "uid": "${datasource}"}
    for panel in DASHBOARD["panels"]:
        if panel["type"] == "row":
            assert panel["collapsed"] is False
            assert panel["panels"] == []
            continue
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["datasource"] == source
        assert [target["datasource"] for target in panel["targets"]] == [source] * len(panel["targets"])
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
        steps = panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", [{"value": None}])
        assert steps[0]["value"] is None, "the first step is the one below all values"


def test_each_rule_has_a_test() -> None:
    tested = yaml.safe_load((FOLDER / "prometheus-alerts.test.yml").read_text(encoding="utf-8"))
    fired = {
        case["alertname"] for test in tested["tests"] for case in test["alert_rule_test"] if case.get("exp_alerts")
    }
    assert fired == {rule["alert"] for rule in RULES}
    assert tested["rule_files"] == ["prometheus-alerts.yml"]


def test_prometheus_scrapes_the_operations_ports_of_compose_under_the_job_names_in_the_rules() -> None:
    services: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    jobs = {scrape["job_name"]: scrape["static_configs"][0]["targets"] for scrape in SCRAPES["scrape_configs"]}
    for (target,) in jobs.values():
        host, port = target.split(":")
        settings, prefix = services[host]["environment"], host.partition("-")[0].upper()
        assert settings[f"{prefix}_OPERATIONS_PORT"] == port
        assert settings[f"{prefix}_OPERATIONS_HOST"] == settings[f"{prefix}_HOST"], "of every network, not of loopback"
    named = {job for rule in RULES for job in re.findall(r'job="([^"]+)"', rule["expr"])}
    assert named == set(jobs)
    assert SCRAPES["rule_files"] == ["prometheus-alerts.yml"]


def test_the_documented_metrics_are_those_of_the_code() -> None:
    spec = importlib.util.spec_from_file_location("docs_render", ROOT / "docs" / "render.py")
    assert spec is not None
    assert spec.loader is not None
    render = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(render)
    assert (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8") == render.metrics(), "run `make docs`"
