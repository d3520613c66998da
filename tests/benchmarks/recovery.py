"""kill -9 of each process and each server under a steady load, and its start again, at once.

Measured: seconds until all that was accepted before the return is mailed, and the longest that a client waited for its
signup to be accepted. Judged: every signup that was accepted has
exactly one copy in the sink, or the ledger says why there are two (an attempt whose outcome is unknown, P5).
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, replace

from local.ports import pick_free
from tests.support.databases import ROOT
from tests.support.stack import PROCESSES

from .books import Books, compare_books, ledger_of
from .options import Options
from .product import LEASE_SECONDS, STATE, Product, running_product
from .report import Row, over_rounds
from .settled import await_settled
from .sink import read_record, running_sink

SERVERS = ("postgres", "valkey")
NOTHING = "nothing"
# A killed worker's rows are free after the lease; then they are sent.
REACH_SECONDS = LEASE_SECONDS + 5
_WORDS = {"resent": "sent again after an attempt of unknown outcome", "wrong": "wrong in the ledger"}
_PATIENCE_SECONDS = 600.0
_RESTART_SECONDS = 60.0
_DRAINED = """
SELECT ARRAY(SELECT s.id::text FROM outbox_settled s WHERE effect = 'mail' AND created_at < to_timestamp($1::float8)
             AND created_at >= to_timestamp($2::float8))
"""
_LAST_SENT = """
SELECT extract(epoch FROM max(sent_at))::float8 FROM mails WHERE client = 'signup' AND request_id = ANY ($1::text[])
"""


@dataclass(frozen=True)
class Outage:
    """Seconds: from the return until all that was accepted before it is mailed; the longest wait of a client."""

    drained: float
    longest_wait: float


def run(options: Options) -> list[Row]:
    rounds = options.choose(options.rounds, full=3, quick=1)
    rate = options.choose(options.rate, full=200.0, quick=50.0)
    # Longer than a lease: the load goes on until a killed worker's rows are free again.
    seconds = options.choose(options.steady_seconds, full=LEASE_SECONDS + 25, quick=4.0)
    victims = (NOTHING, "signup-api", "postgres") if options.quick else (NOTHING, *PROCESSES, *SERVERS)
    outages: dict[str, list[Outage]] = defaultdict(list)
    books: dict[str, Books] = {}
    STATE.mkdir(parents=True, exist_ok=True)
    port, record = pick_free(), STATE / "recovery-accepted.json"
    with running_product("recovery", sink_port=port) as product:
        with running_sink(port, record):
            for number in range(rounds):
                for victim in victims:
                    tag = f"{victim}-{number}"
                    outages[victim].append(_disturb(product, victim, tag, rate, seconds))
                    books[tag] = ledger_of(product, tag, round(rate * seconds))
            product.run_only()
        copies = [recipient for recipient, _ in read_record(record)]
    record.unlink()
    found = {tag: compare_books(kept, copies, tag) for tag, kept in books.items()}
    return [
        row
        for victim in victims
        for row in _rows(victim, outages[victim], [found[f"{victim}-{number}"] for number in range(rounds)])
    ]


def _disturb(product: Product, victim: str, tag: str, rate: float, seconds: float) -> Outage:
    product.run_only(*PROCESSES)
    began = time.time()
    command = [sys.executable, "-m", "tests.benchmarks.stubborn_client", product.stack.signup_url, tag, str(seconds)]
    client = subprocess.Popen([*command, "--rate", str(rate)], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    time.sleep(min(5.0, seconds / 2))
    returned = _kill(product, victim)
    output, _ = client.communicate(timeout=_PATIENCE_SECONDS)
    if client.returncode:
        raise RuntimeError(f"{victim} killed: not all signups were accepted")
    longest: float = json.loads(output.partition("JSON ")[2])["seconds"]
    await_settled(product, _PATIENCE_SECONDS)
    owed = product.fetchval("signup", _DRAINED, returned, began)
    last: float = product.fetchval("mail", _LAST_SENT, owed)
    return Outage(max(0.0, last - returned), longest)


def _kill(product: Product, victim: str) -> float:
    """Kill it, start it again, and return when it was there again: a server ready, a process started."""
    stack = product.stack
    if victim in SERVERS:
        stack.kill_server(victim)
        deadline = time.monotonic() + _RESTART_SECONDS
        while not asyncio.run(stack._restart_server(victim)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{victim} does not start again")
            time.sleep(0.05)
    elif victim != NOTHING:
        stack.kill(victim)
        stack.start(victim)
    return time.time()


def _rows(victim: str, outages: list[Outage], found: list[dict[str, int]]) -> list[Row]:
    total = {what: sum(each[what] for each in found) for what in found[0]}
    whole = not (total["lost"] or total["twice"] or total["wrong"])
    name = "nothing killed" if victim == NOTHING else f"{victim} killed with -9 and started again"
    note = ", ".join(f"{count:,} {_WORDS.get(what, what)}" for what, count in total.items())
    drained = over_rounds("recovery", f"{name}: all mailed after", [each.drained for each in outages], "s", note=note)
    met = whole and max(drained.values) <= REACH_SECONDS
    return [
        replace(drained, reach=f"≤ {REACH_SECONDS:g} s, none lost, none twice", met=met),
        over_rounds(
            "recovery", f"{name}: longest wait for a signup's answer", [each.longest_wait for each in outages], "s"
        ),
    ]
