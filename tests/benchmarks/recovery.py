"""Time from kill -9 until all mails are settled. There is no target; tests/faults asserts what must hold."""

import asyncio
import time
from collections.abc import Callable

from tests.support.stack import PROCESSES

from .product import Product, running_product
from .report import Row

SERVERS = ("postgres", "valkey")
_OWED = "SELECT count(*) FROM outbox WHERE effect = 'mail'"
_WAITING = "SELECT count(*) FROM queue"
_STATES = "SELECT count(*) FROM mails WHERE state = $2 AND to_key LIKE $1"


def run(*, quick: bool) -> list[Row]:
    count = 1_000 if quick else 4_000
    victims = PROCESSES if quick else (*PROCESSES, *SERVERS)
    with running_product("recovery") as product:
        product.run_only(*PROCESSES)
        undisturbed = drained_seconds(product, "none", count, lambda: None)
        rows = [Row("recovery", f"{count:,} mails, nothing killed", undisturbed[0], "s", note=undisturbed[1])]
        for victim in victims:
            seconds, note = drained_seconds(product, victim, count, lambda victim=victim: _kill(product, victim))  # type: ignore[misc]
            rows.append(Row("recovery", f"{victim} killed and started again", seconds, "s", note=note))
    return rows


def drained_seconds(product: Product, tag: str, count: int, fault: Callable[[], None]) -> tuple[float, str]:
    """Seconds from the fault, in the middle of the work, to the last outcome; and the mails' final states."""
    product.owe_mails(tag, count)
    deadline = time.monotonic() + 60
    while product.fetchval("mail", _STATES, f"{tag}-%", "sent") < count // 10 and time.monotonic() < deadline:
        pass
    began = time.monotonic()
    fault()
    product.await_value("signup", _OWED, 0)
    product.await_value("mail", _WAITING, 0)
    seconds = time.monotonic() - began
    sent, uncertain = (product.fetchval("mail", _STATES, f"{tag}-%", state) for state in ("sent", "uncertain"))
    return seconds, f"{sent} sent, {uncertain} uncertain, {count - sent - uncertain} other"


def _kill(product: Product, victim: str) -> None:
    stack = product.stack
    if victim in SERVERS:
        stack.kill_server(victim)
        deadline = time.monotonic() + 60
        while not asyncio.run(stack._restart_server(victim)) and time.monotonic() < deadline:
            time.sleep(0.05)
    else:
        stack.kill(victim)
        stack.start(victim)
