"""The alert_loop: one mail when an incident opens, one a day, one when it closes, however many processes look."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest

from shared.audit.alert_loop import AlertCatalog, AlertLoop, Observation, OperatorNotifier
from shared.audit.alert_reports import AlertMetrics
from shared.audit.incidents import Source, Symptom
from shared.audit.operator_mail import AlertNotSentError, OperatorMail
from shared.audit.severity import Severity
from shared.db.pool import Pool
from shared.process.settings import ServiceSettings
from tests.support.databases import Clone
from tests.support.scripted_smtp import scripted_smtp

ALERT_RULES = (
    Source("stove_on"),
    Source("light_on", Severity.WARNING),
    Source("kettle_on", hold_seconds=300),
)
STOVE, LIGHT, KETTLE = (
    Symptom("stove_on", "turn off the stove", "It is hot."),
    Symptom("light_on", "x", "y"),
    Symptom("kettle_on", "x", "y"),
)
SOONER = "UPDATE alerts SET {0} = {0} - interval '{1}'"


@dataclass
class House:
    """What is wrong now, and what reached the operators; `broken` is a mail service that takes nothing."""

    pool: Pool
    look: Observation = field(default_factory=Observation)
    letters: list[OperatorMail] = field(default_factory=list)
    broken: bool = False

    def watch(self, *, email: str = "ops@x.example", smtp: str = "", severity: str = "", **more: Any) -> AlertLoop:
        settings = ServiceSettings(alert_email=email, alert_smtp_url=smtp)

        async def post(letter: OperatorMail) -> None:
            await asyncio.sleep(0)
            if self.broken:
                raise AlertNotSentError("out of order")
            self.letters.append(letter)

        async def see() -> Observation:
            await asyncio.sleep(0)
            return self.look

        register = AlertCatalog.of("house", (), ALERT_RULES, severity)
        return AlertLoop(
            self.pool,
            register,
            OperatorNotifier(settings.alert_email, post, smtp_url=settings.alert_smtp_url, sender=settings.alert_from),
            see,
            every_seconds=60,
            runs_checks=False,
            **more,
        )

    async def later(self, column: str, interval: str) -> None:
        await self.pool.execute(SOONER.format(column, interval))

    async def alerts(self) -> list[str]:
        rows = await self.pool.fetch("SELECT name, closed_at FROM alerts WHERE opened_at IS NOT NULL ORDER BY id")
        return [f"{row['name']} {'closed' if row['closed_at'] else 'open'}" for row in rows]

    @property
    def subjects(self) -> list[str]:
        return [letter.subject for letter in self.letters]


async def test_many_watches_that_see_the_same_send_one_mail(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([STOVE]))
    await asyncio.gather(*(house.watch().run_once() for _ in range(5)))
    for _ in range(3):
        await house.watch().run_once()
    assert house.subjects == ["Counterfoil: turn off the stove"]
    (letter,) = house.letters
    assert letter.to == "ops@x.example"
    assert "It is hot." in letter.text
    assert "docs/operating.md#stove_on" in letter.text
    assert await house.alerts() == ["stove_on open"]


async def test_an_incident_is_closed_with_a_mail_once_nobody_has_seen_it_for_a_while(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([STOVE]))
    await house.watch().run_once()
    house.look = Observation()
    await house.watch().run_once()
    assert await house.alerts() == ["stove_on open"]  # it may flicker
    await house.later("seen_at", "5 minutes")
    await asyncio.gather(*(house.watch().run_once() for _ in range(3)))
    assert house.subjects[1:] == ["Counterfoil: closed: turn off the stove"]
    assert await house.alerts() == ["stove_on closed"]
    house.look = Observation([STOVE])
    await house.watch().run_once()
    assert await house.alerts() == ["stove_on closed", "stove_on open"]
    assert len({letter.request_id for letter in house.letters}) == 3


async def test_the_operators_are_reminded_once_a_day(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([STOVE]))
    await house.watch().run_once()
    await house.later("opened_at", "24 hours")
    await asyncio.gather(*(house.watch().run_once() for _ in range(3)))
    assert house.subjects[1:] == ["Counterfoil: still open: turn off the stove"]
    await house.later("reminded_at", "25 hours")
    await house.watch().run_once()
    assert len(house.letters) == 3
    assert len({letter.request_id for letter in house.letters}) == 3


async def test_a_warning_is_counted_and_sends_nothing(either_database: Clone) -> None:
    registry = CollectorRegistry()
    house = House(either_database.database.pool, Observation([LIGHT]))
    await house.watch(metrics=AlertMetrics(registry)).run_once()
    assert house.letters == []
    assert await house.alerts() == ["light_on open"]
    told = generate_latest(registry).decode()
    assert 'alerts_opened_total{name="light_on",severity="warning"} 1.0' in told
    assert 'alerts_open{name="light_on",severity="warning"} 1.0' in told
    assert 'alerts_open{name="stove_on",severity="red"} 0.0' in told


async def test_one_line_of_configuration_makes_a_warning_red_and_a_red_alert_a_warning(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([LIGHT, STOVE]))
    await house.watch(severity="light_on=red, stove_on=warning").run_once()
    assert house.subjects == ["Counterfoil: x"]


async def test_what_must_last_is_no_incident_before_it_has(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([KETTLE]))
    await house.watch().run_once()
    assert (await house.alerts(), house.letters) == ([], [])
    await house.later("since", "5 minutes")
    await house.watch().run_once()
    assert (await house.alerts(), len(house.letters)) == (["kettle_on open"], 1)


async def test_what_goes_away_before_it_is_an_incident_leaves_no_trace(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([KETTLE]))
    await house.watch().run_once()
    await house.later("seen_at", "5 minutes")
    house.look = Observation()
    await house.watch().run_once()
    assert await house.pool.fetchval("SELECT count(*) FROM alerts") == 0


async def test_what_cannot_be_judged_stays_as_it_is(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([STOVE]))
    await house.watch().run_once()
    await house.later("seen_at", "1 hour")
    house.look = Observation(unknown=["stove_on"])
    await house.watch().run_once()
    assert await house.alerts() == ["stove_on open"]


async def test_without_operators_alerts_are_kept_and_mailed_as_soon_as_there_are_some(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([STOVE]))
    await house.watch(email="").run_once()
    assert (await house.alerts(), house.letters) == (["stove_on open"], [])
    await house.watch(email="a@x.example, b@x.example").run_once()
    assert [letter.to for letter in house.letters] == ["a@x.example", "b@x.example"]


async def test_a_broken_mail_service_is_gone_past(either_database: Clone) -> None:
    async with scripted_smtp() as server:
        house = House(either_database.database.pool, Observation([STOVE], mail_service_is_down=True))
        await house.watch(smtp=f"smtp://127.0.0.1:{server.port}").run_once()
        (mail,) = server.accepted
    assert house.letters == []
    assert mail.recipient == "ops@x.example"
    assert b"Subject: Counterfoil: turn off the stove" in mail.data


async def test_a_mail_service_that_takes_no_alert_is_asked_again_before_it_is_gone_past(either_database: Clone) -> None:
    async with scripted_smtp() as server:
        house = House(either_database.database.pool, Observation([STOVE]), broken=True)
        for _ in range(3):
            assert server.accepted == []
            await house.watch(smtp=f"smtp://127.0.0.1:{server.port}").run_once()
            await house.pool.execute("UPDATE alert_notices SET due_at = now()")
        assert len(server.accepted) == 1
        await house.watch(smtp=f"smtp://127.0.0.1:{server.port}").run_once()
        assert len(server.accepted) == 1


async def test_a_mail_that_reached_nobody_is_sent_later(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([STOVE]), broken=True)
    await house.watch().run_once()
    house.broken = False
    await house.watch().run_once()
    assert house.letters == []  # not due yet
    await house.pool.execute("UPDATE alert_notices SET due_at = now()")
    await house.watch().run_once()
    assert house.subjects == ["Counterfoil: turn off the stove"]


async def test_history_tells_of_every_alert(either_database: Clone) -> None:
    house = House(either_database.database.pool, Observation([STOVE]))
    await house.watch().run_once()
    await house.later("seen_at", "5 minutes")
    house.look = Observation()
    await house.watch().run_once()
    rows = await house.pool.fetch("SELECT kind FROM history WHERE kind LIKE 'alert.%' ORDER BY id")
    assert [row["kind"] for row in rows] == ["alert.opened", "alert.mailed", "alert.closed", "alert.mailed"]
