"""Whether the time of an anonymous answer tells if an address is new, pending or verified.

Addresses of the three kinds are asked for in shuffled turns, one request at a time on one connection, of one real API
process; each address once. Nothing here fails: a difference is told with its size.
"""

import asyncio
import itertools
import random
import socket
import statistics
import time
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from datetime import timedelta
from urllib.parse import urlsplit

import asyncpg

from .client import request_bytes, take_answer
from .product import Product, running_product
from .report import Row, percentile

KINDS = ("new", "pending", "verified")
# The order of the requests and the resamples are the same in every run.
SEED = 20261123
_WARM_UP = 200
_RESAMPLES = 2000
_PATIENCE_SECONDS = 30
_CHUNK = 65_536
# Within the cooldown only a new address is owed a mail; after it, each of the three is.
_CIRCUMSTANCES = {"cooldown over": timedelta(hours=1), "mailed just now": timedelta()}

_PEOPLE = """
INSERT INTO users (email, email_key, name, source, status, verified_at, last_mail_at)
SELECT address, address, 'Åsa Öberg', 'web', $2, CASE WHEN $2 = 'verified' THEN now() END, now() - $3::interval
FROM (SELECT format('%s-%s@bench.example', $1::text, n) AS address FROM generate_series(0, $4::int - 1) n) people
"""


def run(*, quick: bool) -> list[Row]:
    each = 100 if quick else 600
    rows: list[Row] = []
    with running_product("enumeration") as product:
        product.run_only("signup-api")
        for number, (circumstances, since) in enumerate(_CIRCUMSTANCES.items()):
            asyncio.run(_insert(product, f"round{number}", since, each))
            rows += _rows(circumstances, _measure(product.stack.signup_url, f"round{number}", each))
    return rows


async def _insert(product: Product, tag: str, since_last_mail: timedelta, count: int) -> None:
    connection = await asyncpg.connect(product.url("signup"))
    try:
        for kind in ("pending", "verified"):
            await connection.execute(_PEOPLE, f"{tag}-{kind}", kind, since_last_mail, count)
        await connection.execute("VACUUM ANALYZE users")
    finally:
        await connection.close()


def _measure(url: str, tag: str, each: int) -> dict[str, list[float]]:
    """Milliseconds from the request's last byte out to the answer's last byte in, by kind.

    Raises:
        RuntimeError: something else than a 2xx was answered.
    """
    turns = [kind for kind in KINDS for _ in range(each)]
    random.Random(SEED).shuffle(turns)
    numbers = {kind: itertools.count() for kind in KINDS}
    waits: dict[str, list[float]] = {kind: [] for kind in KINDS}
    place = urlsplit(url)
    with socket.create_connection((str(place.hostname), place.port), timeout=_PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(_WARM_UP):
            _ask(connection, place.netloc, f"{tag}-warm-{number}@bench.example")
        for kind in turns:
            waits[kind].append(_ask(connection, place.netloc, f"{tag}-{kind}-{next(numbers[kind])}@bench.example"))
    return waits


def _ask(connection: socket.socket, host: str, email: str) -> float:
    request, buffer, status = request_bytes(host, email), bytearray(), None
    began = time.perf_counter()
    connection.sendall(request)
    while status is None:
        received = connection.recv(_CHUNK)
        if not received:
            raise RuntimeError("The API has closed the connection")
        buffer += received
        status = take_answer(buffer)
    waited = time.perf_counter() - began
    if not status.startswith(b"2"):
        raise RuntimeError(f"Answered {status.decode()}")
    return waited * 1000


def _rows(circumstances: str, waits: Mapping[str, Sequence[float]]) -> list[Row]:
    rows = [
        Row("enumeration", f"{circumstances}: {kind}, median", statistics.median(times), "ms", note=_spread(times))
        for kind, times in waits.items()
    ]
    for one, other in itertools.combinations(KINDS, 2):
        low, high = interval_of_difference(waits[one], waits[other])
        rows.append(
            Row(
                "enumeration",
                f"{circumstances}: {one} - {other}, of medians",
                (statistics.median(waits[one]) - statistics.median(waits[other])) * 1000,
                "µs",
                note=f"95 %: {low:+.3f} to {high:+.3f} ms; Cliff's delta {cliffs_delta(waits[one], waits[other]):+.3f}",
            )
        )
    return rows


def _spread(times: Sequence[float]) -> str:
    exact, quartiles = statistics.median(times), (percentile(times, 25), percentile(times, 75))
    return f"{exact:.3f} ms, quartiles {quartiles[0]:.3f} to {quartiles[1]:.3f}; n = {len(times)}"


def cliffs_delta(ones: Sequence[float], others: Sequence[float]) -> float:
    """How much likelier one of `ones` is the larger than the smaller of a pair: -1 to 1, and 0 tells nothing."""
    ordered = sorted(others)
    larger = sum(bisect_left(ordered, one) for one in ones)
    smaller = sum(len(ordered) - bisect_right(ordered, one) for one in ones)
    return (larger - smaller) / (len(ones) * len(ordered))


def interval_of_difference(ones: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the difference of medians."""
    dice = random.Random(SEED)
    differences = [
        statistics.median(dice.choices(ones, k=len(ones))) - statistics.median(dice.choices(others, k=len(others)))
        for _ in range(_RESAMPLES)
    ]
    return percentile(differences, 2.5), percentile(differences, 97.5)
