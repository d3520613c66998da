"""docs/metrics.md names what a scrape finds, neither more nor less."""

import re

import orjson

from services.mail.names import WORKER as MAIL_WORKER
from services.signup.names import WORKER
from shared.worker.heartbeats import BEAT
from tests.support.apis import Api
from tests.support.documented import documented
from tests.support.metrics import scrape

SIGNUP_SAYS = {"listening": True, "effects": {"mail": {"breaker": "closed", "last_fault": None, "rows": {}}}}
MAIL_SAYS = {
    "listening": True,
    "gateways": [{"name": "main", "breaker": "closed", "last_fault": None, "in_flight": 0, "connections": 8}],
}
# Made by the library beside every histogram: when it began.
CREATED = "_created"


async def scraped_types(api: Api) -> dict[str, str]:
    text = (await api.http.get("/metrics")).text
    types = re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE)
    return {name: kind for name, kind in types if not name.endswith(CREATED)}


async def all_agree(api: Api, service: str, process: str, said: object) -> None:
    await api.database.pool.execute(BEAT, process, "here:1", orjson.dumps(said).decode())
    told = documented(service)
    await api.http.get("/health/live")

    assert await scraped_types(api) == {name: metric.type for name, metric in told.items()}
    assert all(metric.help for metric in told.values())
    for name, series in (await scrape(api.http)).items():
        if (metric := told.get(name)) is not None:
            found = {frozenset(label for label, _ in labels) for labels in series}
            assert found == {metric.labels}, name


async def test_every_metric_of_signup_is_documented_with_its_type_and_labels(signup_api: Api) -> None:
    await all_agree(signup_api, "signup", WORKER, SIGNUP_SAYS)


async def test_every_metric_of_the_mail_service_is_documented_with_its_type_and_labels(mail_api: Api) -> None:
    await all_agree(mail_api, "mail", MAIL_WORKER, MAIL_SAYS)
