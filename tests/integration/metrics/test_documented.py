"""docs/metrics.md names exactly the metrics of a scrape."""

import re

import orjson

from services.mail.process_names import WORKER as MAIL_WORKER
from services.signup.process_names import WORKER
from shared.worker.heartbeats import BEAT
from tests.support.apis import Api
from tests.support.documented import documented
from tests.support.metrics import scrape

SIGNUP_DETAIL = {"listening": True, "effects": {"mail": {"breaker": "closed", "last_fault": None, "rows": {}}}}
MAIL_DETAIL = {
    "listening": True,
    "gateways": [{"name": "main", "breaker": "closed", "last_fault": None, "in_flight": 0, "connections": 8}],
}
# The library adds the creation time of every histogram.
CREATED = "_created"


async def scraped_types(api: Api) -> dict[str, str]:
    text = (await api.operations.get("/metrics")).text
    types = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    return {name: kind for name, kind in types if not name.endswith(CREATED)}


async def assert_documented(api: Api, service: str, process: str, detail: object) -> None:
    await api.database.pool.execute(BEAT, process, "here:1", orjson.dumps(detail).decode())
    expected = documented(service)
    await api.http.get("/health/live")

    assert await scraped_types(api) == {name: metric.type for name, metric in expected.items()}
    assert all(metric.help for metric in expected.values())
    for name, series in (await scrape(api.operations)).items():
        if (metric := expected.get(name)) is not None:
            found = {frozenset(label for label, _ in labels) for labels in series}
            assert found == {metric.labels}, name


async def test_every_metric_of_signup_is_documented_with_its_type_and_labels(signup_api: Api) -> None:
    await assert_documented(signup_api, "signup", WORKER, SIGNUP_DETAIL)


async def test_every_metric_of_the_mail_service_is_documented_with_its_type_and_labels(mail_api: Api) -> None:
    await assert_documented(mail_api, "mail", MAIL_WORKER, MAIL_DETAIL)
