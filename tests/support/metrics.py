"""Reads `/metrics` as Prometheus does."""

import httpx
from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


async def scrape(http: httpx.AsyncClient) -> dict[str, dict[Labels, float]]:
    """Scrape once; values by series name, then by labels."""
    answer = await http.get("/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, dict[Labels, float]] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, {})[frozenset(sample.labels.items())] = sample.value
    return found


def labels(**named: str) -> Labels:
    return frozenset(named.items())


NONE = labels()
