"""One run of the lab, from the start of the servers to the verdict."""

import asyncio
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from shared.db import api_keys

from . import queries, reader
from .checker import judge
from .conductor import Conductor
from .evidence import Evidence
from .http_client import Client
from .load import Load, Rates
from .record import Record, sample
from .schedule import draw_schedule
from .site import Site

_CLIENT = "billing"
_DRAIN_SECONDS = 240.0
_READY_SECONDS = 60.0
_QUIET_POLLS = 3
_RECONCILE_SECONDS = 120.0
_EVENTS = {
    "signup": ["user.signed_up", "user.imported", "user.verified"],
    "mail": ["mail.sent", "mail.failed", "mail.uncertain", "mail.deferred"],
}
Say = Callable[[str], None]


class Trial:
    def __init__(self, seed: int, minutes: float, rates: Rates, folder: Path, say: Say) -> None:
        self.record = Record(seed, minutes, machine=f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}")
        self.folder = folder
        self._rates = rates
        self._say = say

    def run(self) -> Record:
        """The verdict is in the record. Raises when the lab itself fails."""
        record = self.record
        with _open_site(self.folder / "state", record.seed) as site, self._keeping_logs():
            load = self._prepare(site)
            record.began_at = time.time()
            urls = site.stack.owner_url("signup"), site.stack.owner_url("mail")
            site.run(_begin(load, sample(record, load, site.gateway, *urls)))
            conductor = Conductor(site, record, self._say)
            conductor.conduct(draw_schedule(record.seed, record.minutes), record.minutes * 60)
            site.run(load.stop())
            record.load_seconds = record.now
            self._drain(site, load, conductor)
            evidence = self._collect(site, load)
            record.verdicts = judge(evidence)
            record.notes = [(at - record.began_at, text) for at, text in site.notes]
            record.load = _summary(load, site, evidence)
        return record

    def _prepare(self, site: Site) -> Load:
        """A second client's key, subscribers, and the clients of the load."""
        for url in (site.stack.signup_url, site.stack.mail_url):
            _await_ready(f"{url}/health/ready")
        key = api_keys.mint()
        site.run(_register(site.stack.owner_url("mail"), key))
        for service, url, owner_key in (
            ("signup", site.stack.signup_url, site.stack.operator_key),
            ("mail", site.stack.mail_url, key.text),
        ):
            target = f"http://127.0.0.1:{site.proxies['all-subscriber'].port}/{service}"
            answer = httpx.post(
                f"{url}/v1/webhooks",
                json={"url": target, "events": _EVENTS[service]},
                headers={"Authorization": f"Bearer {owner_key}"},
            )
            answer.raise_for_status()
        signup = f"http://127.0.0.1:{site.proxies['clients-signup'].port}"
        mail = f"http://127.0.0.1:{site.proxies['clients-mail'].port}"
        return Load(
            self.record.seed,
            self._rates,
            Client(signup),
            Client(signup, site.stack.operator_key),
            Client(mail, key.text),
            site.gateway,
        )

    def _drain(self, site: Site, load: Load, conductor: Conductor) -> None:
        """All faults have ended and the load has stopped: wait until nothing is left to do, or the time is over."""
        began = self.record.now
        quiet = 0
        while quiet < _QUIET_POLLS and self.record.now < began + _DRAIN_SECONDS:
            quiet = quiet + 1 if not load.unanswered and self._backlog(site) == 0 else 0
            for _ in range(10):
                conductor.tick()
        drained = quiet >= _QUIET_POLLS
        self.record.drain_seconds = round(self.record.now - began, 1) if drained else None
        self._say(f"{self.record.now:7.1f}  {'drained' if drained else f'not drained in {_DRAIN_SECONDS:g} s'}")

    def _backlog(self, site: Site) -> int | None:
        try:
            counts = site.run(_counts(site))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        return sum(counts)

    def _collect(self, site: Site, load: Load) -> Evidence:
        site.run(asyncio.sleep(3.0))  # the followers read what was written last
        evidence = Evidence(outages=self.record.outages())
        evidence.reconciliation = site.run(_reconcile(site, self.record.began_at))
        site.run(load.finish())
        site.run(reader.read_databases(evidence, site.stack.owner_url("signup"), site.stack.owner_url("mail")))
        runtime = {service: site.stack._environment[f"{service.upper()}_RUNTIME_DATABASE_URL"] for service in _EVENTS}
        site.run(reader.tamper(evidence, runtime))
        evidence.asks, evidence.changes = load.asks, load.changes
        evidence.copies, evidence.refusals = site.gateway.copies, site.gateway.refusals
        evidence.calls = site.receiver.calls
        return evidence

    @contextmanager
    def _keeping_logs(self) -> Iterator[None]:
        """The processes' logs stay, the databases do not."""
        try:
            yield
        finally:
            logs = self.folder / "log"
            shutil.rmtree(logs, ignore_errors=True)
            logs.mkdir(parents=True)
            for log in (*self.folder.glob("state/*.log"), *self.folder.glob("state/*/*.log")):
                server = "" if log.parent.name == "state" else f"{log.parent.name}-"
                shutil.copy(log, logs / f"{server}{log.name}")


@contextmanager
def _open_site(directory: Path, seed: int) -> Iterator[Site]:
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o711, parents=True)
    site = Site(directory, seed)
    try:
        site.open()
        yield site
    finally:
        site.close()
        shutil.rmtree(directory, ignore_errors=True)


async def _begin(load: Load, sampling: Any) -> None:
    load.start()
    load.keep(asyncio.ensure_future(sampling))


async def _register(url: str, key: api_keys.ApiKey) -> None:
    connection = await asyncpg.connect(url)
    try:
        scopes = ("mails:send", "mails:read", "webhooks:manage")
        await api_keys.store(connection, key, client=_CLIENT, scopes=scopes, days=None, actor="lab")
    finally:
        await connection.close()


def _await_ready(url: str) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            pass
        if time.monotonic() > deadline:
            raise TimeoutError(f"{url} did not become ready")
        time.sleep(0.1)


async def _counts(site: Site) -> list[int]:
    found = []
    for service, query in (
        ("signup", queries.SIGNUP_BACKLOG),
        ("mail", queries.MAIL_BACKLOG),
        ("signup", queries.UNREAD_OUTCOMES),
    ):
        connection = await asyncpg.connect(site.stack.owner_url(service))
        try:
            found.append(await connection.fetchval(query))
        finally:
            await connection.close()
    return found


async def _reconcile(site: Site, since: float) -> dict[str, Any]:
    """The run as it ended; as it is when it does not end."""
    operator = Client(site.stack.signup_url, site.stack.operator_key, seconds=30)
    begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(since - 60))
    run: dict[str, Any] = (await operator.post("/audit/reconciliation/run", json={"from": begin})).json()
    give_up = time.monotonic() + _RECONCILE_SECONDS
    while run["state"] == "running" and time.monotonic() < give_up:
        await asyncio.sleep(0.5)
        run = (await operator.get(f"/audit/reconciliation/{run['id']}")).json()
    return run


def _summary(load: Load, site: Site, evidence: Evidence) -> dict[str, Any]:
    kinds = sorted({ask.kind for ask in load.asks})
    states = sorted({mail.state for mail in evidence.mails})
    calls = [call.webhook_id for call in site.receiver.calls if call.answered]
    return {
        "asked": {kind: sum(ask.kind == kind for ask in load.asks) for kind in kinds},
        "accepted": {kind: sum(ask.kind == kind and ask.is_accepted for ask in load.asks) for kind in kinds},
        "tries without a yes": sum(len(ask.failures) for ask in load.asks),
        "people": len(evidence.users),
        "mails": {state: sum(mail.state == state for mail in evidence.mails) for state in states},
        "copies": len(site.gateway.copies),
        "refusals": len(site.gateway.refusals),
        "webhooks": len(set(calls)),
        "webhooks told again": len(calls) - len(set(calls)),
        "feed entries followed": len(load.changes),
    }
