"""The cells that job queues are compared by: a worker that dies, a server that goes, pressure. One mail for each job?

The product, procrastinate and pgqueuer, one after the other in each cell: the same PostgreSQL, the same sink, which
answers a while after the dot, so that a fault meets mails whose reply is on its way; 8 mails at once; every other
setting as each documents it. In the first cells all is asked for before the worker starts, so that the fault meets
only the worker; under pressure it is asked for meanwhile.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import asyncpg
import httpx

from local.ports import pick_free
from local.process import dies_with_parent
from tests.support.databases import ROOT

from .options import Options
from .product import STATE, Product, output_of, running_product
from .relay import VENV, installed
from .report import Row
from .signup import YARDSTICKS
from .sink import read_record, running_sink
from .snapshot import held_snapshot

PEERS = {"procrastinate": "procrastinate==3.10.0", "pgqueuer": "pgqueuer[asyncpg]==1.6.0"}
PEER_CLIENTS = ("aiosmtplib==5.1.3", "psycopg[binary,pool]")
REPLY_SECONDS = 0.2
_POLL_SECONDS = 0.1
# The longest that one of them needs by its own defaults: procrastinate looks each minute for workers lost for 30 s.
_PATIENCE_SECONDS = 180.0
_OPEN = {
    "procrastinate": "SELECT count(*) FROM procrastinate_jobs WHERE task_name = 'send' AND status IN ('todo', 'doing')",
    "pgqueuer": "SELECT count(*) FROM pgqueuer WHERE status IN ('queued', 'picked')",
}
_IN_DOUBT = "SELECT count(*) FROM mails WHERE state = 'uncertain' AND to_key LIKE $1"
_END_SESSIONS = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"


class Contender(Protocol):
    """`database` is the one of the cells' product that holds its jobs. All methods block."""

    name: str
    url: str

    def ask(self, tag: str, count: int, rate: float, writers: int) -> None:
        """Ask for `count` mails, at a rate (0: as fast as it can), over so many connections."""

    def start(self) -> None:
        """Start the worker, unless it runs."""

    def stop(self, number: signal.Signals) -> None:
        """Send a signal to the worker, and wait until it has ended."""

    def left(self) -> int:
        """Jobs that are not over."""

    def in_doubt(self, tag: str) -> int:
        """Mails of which it says that it does not know whether they were sent."""


class Ours:
    name = "this product"

    def __init__(self, product: Product) -> None:
        self._product = product
        self.url = product.url("mail")

    def ask(self, tag: str, count: int, rate: float, writers: int) -> None:
        asyncio.run(self._ask(tag, iter(range(count)), rate, writers))

    async def _ask(self, tag: str, numbers: Iterator[int], rate: float, writers: int) -> None:
        headers = {"Authorization": f"Bearer {self._product.environment['MAIL_API_KEY']}"}
        began = time.monotonic()
        async with httpx.AsyncClient(base_url=self._product.stack.mail_url, headers=headers, timeout=30) as http:

            async def write() -> None:
                for number in numbers:
                    if rate:
                        await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
                    to = f"{tag}-{number}@bench.example"
                    mail = {"request_id": to, "to": {"email": to}, "subject": "Hello", "text": "Hello\n"}
                    (await http.post("/v1/mails", json=mail)).raise_for_status()

            await asyncio.gather(*(write() for _ in range(writers)))

    def start(self) -> None:
        if not self._product.stack.is_running("mail-worker"):
            self._product.stack.start("mail-worker")

    def stop(self, number: signal.Signals) -> None:
        process = self._product.stack.processes["mail-worker"]
        process.send_signal(number)
        process.wait(60)

    def left(self) -> int:
        count: int = self._product.fetchval("mail", "SELECT count(*) FROM queue")
        return count

    def in_doubt(self, tag: str) -> int:
        count: int = self._product.fetchval("mail", _IN_DOUBT, f"{tag}-%")
        return count


class Peer:
    def __init__(self, name: str, product: Product) -> None:
        self.name = name
        database = f"cells_{name}"
        product.fetchval("postgres", f"CREATE DATABASE {database}")
        self.url = product.superuser_url.rpartition("/")[0] + f"/{database}"
        self._command = [str(VENV / "bin" / "python"), str(YARDSTICKS / f"with_{name}.py")]
        self._environment = {**os.environ, "DATABASE_URL": self.url, "SMTP_PORT": str(product.sink_port)}
        self._worker: subprocess.Popen[bytes] | None = None
        output_of([*self._command, "schema"], self._environment)

    def ask(self, tag: str, count: int, rate: float, writers: int) -> None:
        output_of([*self._command, "ask", tag, str(count), str(rate), str(writers)], self._environment)

    def start(self) -> None:
        if self._worker is None or self._worker.poll() is not None:
            self._worker = subprocess.Popen(
                [*dies_with_parent("KILL"), *self._command, "worker"], cwd=ROOT, env=self._environment,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    def stop(self, number: signal.Signals) -> None:
        if self._worker is not None:
            self._worker.send_signal(number)
            self._worker.wait(60)

    def left(self) -> int:
        return asyncio.run(_count(self.url, _OPEN[self.name]))

    def in_doubt(self, tag: str) -> int:
        del tag  # it has no such thing
        return 0


async def _count(url: str, query: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


Fault = Callable[[Product, Contender], None]


def _nothing(_product: Product, _contender: Contender) -> None:
    """The yardstick of the others."""


def _killed(_product: Product, contender: Contender) -> None:
    contender.stop(signal.SIGKILL)


def _terminated(_product: Product, contender: Contender) -> None:
    contender.stop(signal.SIGTERM)


def _killed_five_times(_product: Product, contender: Contender) -> None:
    for _ in range(5):
        contender.stop(signal.SIGKILL)
        contender.start()
        time.sleep(1.5)


def _postgres_killed(product: Product, _contender: Contender) -> None:
    product.stack.kill_server("postgres")
    while not asyncio.run(product.stack._restart_server("postgres")):
        time.sleep(0.05)


def _sessions_ended(product: Product, _contender: Contender) -> None:
    product.fetchval("postgres", _END_SESSIONS)


FAULTS: dict[str, Fault] = {
    "nothing": _nothing,
    "kill -9 while it sends": _killed,
    "SIGTERM while it sends": _terminated,
    "kill -9 five times": _killed_five_times,
    "PostgreSQL killed": _postgres_killed,
    "its sessions ended": _sessions_ended,
}


@contextmanager
def _open_transaction(url: str) -> Iterator[None]:
    """It has written, and does nothing more."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(url))
        runner.run(connection.execute("BEGIN; CREATE TABLE left_open (n int)"))
        try:
            yield
        finally:
            runner.run(connection.execute("ROLLBACK"))
            runner.run(connection.close())


@dataclass(frozen=True)
class Pressure:
    """`asked`: count, rate and writers of each part."""

    asked: Sequence[tuple[int, float, int]]
    held: Callable[[str], contextlib.AbstractContextManager[None]] = lambda _url: contextlib.nullcontext()


PRESSURES = {
    "a snapshot held": Pressure([(400, 25.0, 1)], held_snapshot),
    "a transaction left open": Pressure([(400, 25.0, 1)], _open_transaction),
    "32 writers at once": Pressure([(640, 0.0, 32)]),
    "a burst of ten times the rate": Pressure([(80, 10.0, 1), (300, 100.0, 8), (80, 10.0, 1)]),
}


@dataclass(frozen=True)
class Cell:
    """What was asked for in a cell; `began`: when the fault was over, or all was asked for, by the monotonic clock."""

    cell: str
    contender: str
    tag: str
    asked: int
    began: float
    left: int
    in_doubt: int


def run(options: Options) -> list[Row]:
    count = options.choose(None, full=240, quick=60)
    cells: list[Cell] = []
    STATE.mkdir(parents=True, exist_ok=True)
    port, record = pick_free(), STATE / "cells-accepted.json"
    with running_product("cells", sink_port=port) as product:
        with running_sink(port, record, reply_seconds=REPLY_SECONDS):
            product.run_only("mail-api")
            peers = [name for name, package in PEERS.items() if installed(name, [package, *PEER_CLIENTS])]
            contenders: list[Contender] = [Ours(product), *(Peer(name, product) for name in peers)]
            for name, fault in FAULTS.items():
                cells += [_meet(product, each, name, fault, count) for each in contenders]
            if not options.quick:
                for name, pressure in PRESSURES.items():
                    cells += [_press(each, name, pressure) for each in contenders]
            product.run_only()
        accepted = read_record(record)
    record.unlink()
    return [_row(cell, accepted) for cell in cells]


def _meet(product: Product, contender: Contender, name: str, fault: Fault, count: int) -> Cell:
    tag = _tag(contender, name)
    contender.ask(tag, count, 0.0, 4)
    contender.start()
    while contender.left() > count * 3 // 4:
        time.sleep(_POLL_SECONDS)
    fault(product, contender)
    return _drained(contender, name, tag, count, time.monotonic())


def _press(contender: Contender, name: str, pressure: Pressure) -> Cell:
    tag = _tag(contender, name)
    contender.start()
    with pressure.held(contender.url):
        for number, (count, rate, writers) in enumerate(pressure.asked):
            contender.ask(f"{tag}-{number}", count, rate, writers)
        return _drained(contender, name, tag, sum(count for count, *_ in pressure.asked), time.monotonic())


def _drained(contender: Contender, name: str, tag: str, asked: int, began: float) -> Cell:
    """Wait until nothing is left, with a worker that is started again whenever it ended, as by a supervisor."""
    while (left := contender.left()) and time.monotonic() < began + _PATIENCE_SECONDS:
        contender.start()
        time.sleep(_POLL_SECONDS)
    contender.start()
    contender.stop(signal.SIGTERM)
    return Cell(name, contender.name, tag, asked, began, left, contender.in_doubt(tag))


def _tag(contender: Contender, name: str) -> str:
    return f"{contender.name}-{name}".replace(" ", "-").lower()


def _row(cell: Cell, accepted: Sequence[tuple[str, float]]) -> Row:
    own = [(recipient, at) for recipient, at in accepted if recipient.startswith(f"{cell.tag}-")]
    counted = Counter(recipient for recipient, _ in own)
    lost, extra = cell.asked - len(counted), len(own) - len(counted)
    note = f"{cell.asked} asked for, {len(counted)} arrived, {extra} copies too many"
    note += "".join(
        f", {number} {what}"
        for number, what in ((lost, "did not arrive"), (cell.left, "not over"), (cell.in_doubt, "known to be in doubt"))
        if number
    )
    seconds = max(0.0, max((at for _, at in own), default=cell.began) - cell.began)
    is_ours = cell.contender == Ours.name
    return Row(
        "cells", f"{cell.cell}: {cell.contender}: last mail after", seconds, "s",
        reach="one mail each" if is_ours else "", met=lost == extra == 0 if is_ours else None, note=note,
    )  # fmt: skip
