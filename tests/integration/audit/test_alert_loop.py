"""The alert loop: one mail when an incident opens, one a day, one when it closes, however many processes run it."""

import asyncio
import re
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from shared.audit.alert_loop import AlertCatalog, AlertLoop, Observation, OperatorNotifier
from shared.audit.alert_reports import AlertMetrics
from shared.audit.incidents import AlertRule, Symptom
from shared.audit.operator_mail import AlertNotSentError, OperatorMail
from shared.audit.severity import Severity
from shared.db.pool import Pool
from shared.process.settings import ServiceSettings
from tests.support.databases import Clone
from tests.support.scripted_smtp import scripted_smtp

ALERT_RULES = (AlertRule("stove_on"), AlertRule("light_on", Severity.WARNING), AlertRule("kettle_on", hold_seconds=300))
STOVE, LIGHT, KETTLE = (
    Symptom("stove_on", "turn off the stove", "It is hot."),
    Symptom("light_on", "x", "y"),
    Symptom("kettle_on", "x", "y"),
)
MOVE_BACK = "UPDATE alerts SET {0} = {0} - interval '{1}'"


@dataclass
class House:
    """What is wrong now, and which mails the operators got. `broken`: the mail service accepts nothing."""

    clone: Clone
    observation: Observation = field(default_factory=Observation)
    mails: list[OperatorMail] = field(default_factory=list)
    broken: bool = False

    @property
    def pool(self) -> Pool:
        return self.clone.database.pool

    def alert_loop(self, *, email: str = "ops@x.example", smtp: str = "", severity: str = "", **more: Any) -> AlertLoop:
        settings = ServiceSettings(alert_email=email, alert_smtp_url=smtp)

        async def post(mail: OperatorMail) -> None:
            await asyncio.sleep(0)
            if self.broken:
                raise AlertNotSentError("out of order")
            self.mails.append(mail)

        async def observe() -> Observation:
            await asyncio.sleep(0)
            return self.observation

        catalog = AlertCatalog.of("house", (), ALERT_RULES, severity)
        return AlertLoop(
            self.pool,
            catalog,
            OperatorNotifier(settings.alert_email, post, smtp_url=settings.alert_smtp_url, sender=settings.alert_from),
            observe,
            every_seconds=60,
            runs_checks=False,
            **more,
        )

    async def move_back(self, column: str, interval: str) -> None:
        await self.clone.as_owner(MOVE_BACK.format(column, interval))

    async def alerts(self) -> list[str]:
        rows = await self.pool.fetch("SELECT name, closed_at FROM alerts WHERE opened_at IS NOT NULL ORDER BY id")
        return [f"{row['name']} {'closed' if row['closed_at'] else 'open'}" for row in rows]

    @property
    def subjects(self) -> list[str]:
        return [mail.subject for mail in self.mails]


async def test_many_loops_that_see_the_same_symptom_send_one_mail(either_database: Clone) -> None:
    house = House(either_database, Observation([STOVE]))
    await asyncio.gather(*(house.alert_loop().run_once() for _ in range(5)))
    for _ in range(3):
        await house.alert_loop().run_once()
    assert house.subjects == ["Counterfoil: turn off the stove"]
    (mail,) = house.mails
    assert mail.to == "ops@x.example"
    assert "It is hot." in mail.text
    assert "docs/operating.md#stove_on" in mail.text
    assert await house.alerts() == ["stove_on open"]


async def test_a_subject_that_names_too_much_is_cut_and_whole_in_the_text(either_database: Clone) -> None:
    todo = "look at " + ", ".join(f"domain-{number}.example" for number in range(60))
    house = House(either_database, Observation([Symptom("stove_on", todo, "It is hot.")]))
    await house.alert_loop().run_once()
    (mail,) = house.mails
    assert (len(mail.subject), mail.subject[-1]) == (200, "…")
    assert todo in mail.text
    assert "It is hot." in mail.text


async def test_an_incident_closes_with_a_mail_when_it_was_not_seen_for_a_while(either_database: Clone) -> None:
    house = House(either_database, Observation([STOVE]))
    await house.alert_loop().run_once()
    house.observation = Observation()
    await house.alert_loop().run_once()
    assert await house.alerts() == ["stove_on open"]  # it may flicker
    await house.move_back("seen_at", "5 minutes")
    await asyncio.gather(*(house.alert_loop().run_once() for _ in range(3)))
    assert house.subjects[1:] == ["Counterfoil: closed: turn off the stove"]
    assert await house.alerts() == ["stove_on closed"]
    house.observation = Observation([STOVE])
    await house.alert_loop().run_once()
    assert await house.alerts() == ["stove_on closed", "stove_on open"]
    assert len({mail.request_id for mail in house.mails}) == 3


async def test_the_operators_are_reminded_once_a_day(either_database: Clone) -> None:
    house = House(either_database, Observation([STOVE]))
    await house.alert_loop().run_once()
    await house.move_back("opened_at", "24 hours")
    await asyncio.gather(*(house.alert_loop().run_once() for _ in range(3)))
    assert house.subjects[1:] == ["Counterfoil: still open: turn off the stove"]
    await house.move_back("reminded_at", "25 hours")
    await house.alert_loop().run_once()
    assert len(house.mails) == 3
    assert len({mail.request_id for mail in house.mails}) == 3


async def test_a_warning_is_counted_and_sends_nothing(either_database: Clone) -> None:
    registry = CollectorRegistry()
    house = House(either_database, Observation([LIGHT]))
    await house.alert_loop(metrics=AlertMetrics(registry)).run_once()
    assert house.mails == []
    assert await house.alerts() == ["light_on open"]
    metrics = generate_latest(registry).decode()
    assert 'alerts_opened_total{name="light_on",severity="warning"} 1.0' in metrics
    assert 'alerts_open{name="light_on",severity="warning"} 1.0' in metrics
    assert 'alerts_open{name="stove_on",severity="red"} 0.0' in metrics


async def test_one_line_of_configuration_makes_a_warning_red_and_a_red_alert_a_warning(either_database: Clone) -> None:
    house = House(either_database, Observation([LIGHT, STOVE]))
    await house.alert_loop(severity="light_on=red, stove_on=warning").run_once()
    assert house.subjects == ["Counterfoil: x"]


async def test_a_symptom_with_a_hold_time_is_no_incident_before_it(either_database: Clone) -> None:
    house = House(either_database, Observation([KETTLE]))
    await house.alert_loop().run_once()
    assert (await house.alerts(), house.mails) == ([], [])
    await house.move_back("since", "5 minutes")
    await house.alert_loop().run_once()
    assert (await house.alerts(), len(house.mails)) == (["kettle_on open"], 1)


async def test_a_symptom_that_ends_within_its_hold_time_leaves_no_row(either_database: Clone) -> None:
    house = House(either_database, Observation([KETTLE]))
    await house.alert_loop().run_once()
    await house.move_back("seen_at", "5 minutes")
    house.observation = Observation()
    await house.alert_loop().run_once()
    assert await house.pool.fetchval("SELECT count(*) FROM alerts") == 0


async def test_an_incident_that_cannot_be_judged_stays_as_it_is(either_database: Clone) -> None:
    house = House(either_database, Observation([STOVE]))
    await house.alert_loop().run_once()
    await house.move_back("seen_at", "1 hour")
    house.observation = Observation(unknown=["stove_on"])
    await house.alert_loop().run_once()
    assert await house.alerts() == ["stove_on open"]


async def test_open_alerts_are_mailed_when_operators_are_configured_later(either_database: Clone) -> None:
    house = House(either_database, Observation([STOVE]))
    await house.alert_loop(email="").run_once()
    assert (await house.alerts(), house.mails) == (["stove_on open"], [])
    await house.alert_loop(email="a@x.example, b@x.example").run_once()
    assert [mail.to for mail in house.mails] == ["a@x.example", "b@x.example"]


async def test_alerts_bypass_a_mail_service_that_is_down(either_database: Clone) -> None:
    async with scripted_smtp() as server:
        house = House(either_database, Observation([STOVE], mail_service_is_down=True))
        await house.alert_loop(smtp=f"smtp://127.0.0.1:{server.port}").run_once()
        (mail,) = server.accepted
    assert house.mails == []
    assert mail.recipient == "ops@x.example"
    assert b"Subject: Counterfoil: turn off the stove" in mail.data
    assert re.search(rb"^Date: \w{3}, \d\d? \w{3} \d{4} [\d:]{8} \+0000\r?$", mail.data, re.MULTILINE)


async def test_a_mail_service_that_refuses_an_alert_is_tried_three_times_before_smtp(either_database: Clone) -> None:
    async with scripted_smtp() as server:
        house = House(either_database, Observation([STOVE]), broken=True)
        for _ in range(3):
            assert server.accepted == []
            await house.alert_loop(smtp=f"smtp://127.0.0.1:{server.port}").run_once()
            await house.pool.execute("UPDATE alert_notices SET due_at = now()")
        assert len(server.accepted) == 1
        await house.alert_loop(smtp=f"smtp://127.0.0.1:{server.port}").run_once()
        assert len(server.accepted) == 1


async def test_an_alert_that_could_not_be_sent_is_sent_later(either_database: Clone) -> None:
    house = House(either_database, Observation([STOVE]), broken=True)
    await house.alert_loop().run_once()
    house.broken = False
    await house.alert_loop().run_once()
    assert house.mails == []  # not due yet
    await house.pool.execute("UPDATE alert_notices SET due_at = now()")
    await house.alert_loop().run_once()
    assert house.subjects == ["Counterfoil: turn off the stove"]


async def test_history_records_every_alert(either_database: Clone) -> None:
    house = House(either_database, Observation([STOVE]))
    await house.alert_loop().run_once()
    await house.move_back("seen_at", "5 minutes")
    house.observation = Observation()
    await house.alert_loop().run_once()
    rows = await house.pool.fetch("SELECT kind FROM history WHERE kind LIKE 'alert.%' ORDER BY id")
    assert [row["kind"] for row in rows] == ["alert.opened", "alert.mailed", "alert.closed", "alert.mailed"]
