"""Whether the response time of an anonymous signup reveals that an address is new, pending or verified.

Requests for addresses of the three kinds go to one API process in shuffled order, one at a time on one connection, each
address once. The benchmark reports the size of a difference and never fails because of it.
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
from .options import Options
from .product import Product, running_product
from .report import Row, percentile

KINDS = ("new", "pending", "verified")
# Requests have the same order, and resamples are the same, in every run.
SEED = 20261123
_WARM_UP = 200
_RESAMPLES = 2000
_PATIENCE_SECONDS = 30
_CHUNK = 65_536
# Within the cooldown only a new address is owed a mail; after it, all three kinds are.
_CIRCUMSTANCES = {"cooldown over": timedelta(hours=1), "mailed just now": timedelta()}

_PEOPLE = """
INSERT INTO users (email, email_key, name, source, status, verified_at, last_mail_at)
SELECT address, address, 'Åsa Öberg', 'web', $2, CASE WHEN $2 = 'verified' THEN now() END, now() - $3::interval
FROM (SELECT format('%s-%s@bench.example', $1::text, n) AS address FROM generate_series(0, $4::int - 1) n) people
"""


def run(options: Options) -> list[Row]:
    each = 100 if options.quick else 600
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
    """Milliseconds from the start of a request to the last byte of its answer, by kind.

    Raises:
        RuntimeError: an answer was not a 2xx.
    """
    kinds = [kind for kind in KINDS for _ in range(each)]
    random.Random(SEED).shuffle(kinds)
    numbers = {kind: itertools.count() for kind in KINDS}
    waits: dict[str, list[float]] = {kind: [] for kind in KINDS}
    target = urlsplit(url)
    with socket.create_connection((str(target.hostname), target.port), timeout=_PATIENCE_SECONDS) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for number in range(_WARM_UP):
            _time_request(connection, target.netloc, f"{tag}-warm-{number}@bench.example")
        for kind in kinds:
            waits[kind].append(
                _time_request(connection, target.netloc, f"{tag}-{kind}-{next(numbers[kind])}@bench.example")
            )
    return waits


def _time_request(connection: socket.socket, host: str, email: str) -> float:
    request, buffer, status = request_bytes(host, email), bytearray(), None
    began = time.perf_counter()
    connection.sendall(request)
    while status is None:
        received = connection.recv(_CHUNK)
        if not received:
            raise RuntimeError("The API closed the connection")
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
    for first, second in itertools.combinations(KINDS, 2):
        low, high = interval_of_difference(waits[first], waits[second])
        delta = cliffs_delta(waits[first], waits[second])
        rows.append(
            Row(
                "enumeration",
                f"{circumstances}: {first} - {second}, of medians",
                (statistics.median(waits[first]) - statistics.median(waits[second])) * 1000,
                "µs",
                note=f"95 %: {low:+.3f} to {high:+.3f} ms; Cliff's delta {delta:+.3f}",
            )
        )
    return rows


def _spread(times: Sequence[float]) -> str:
    exact, quartiles = statistics.median(times), (percentile(times, 25), percentile(times, 75))
    return f"{exact:.3f} ms, quartiles {quartiles[0]:.3f} to {quartiles[1]:.3f}; n = {len(times)}"


def cliffs_delta(first: Sequence[float], second: Sequence[float]) -> float:
    """Probability that a value of `first` is the larger minus that it is the smaller: -1 to 1, 0 for no difference."""
    ordered = sorted(second)
    larger = sum(bisect_left(ordered, value) for value in first)
    smaller = sum(len(ordered) - bisect_right(ordered, value) for value in first)
    return (larger - smaller) / (len(first) * len(ordered))


def interval_of_difference(first: Sequence[float], second: Sequence[float]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the difference of medians."""
    draw = random.Random(SEED)
    differences = [
        statistics.median(draw.choices(first, k=len(first))) - statistics.median(draw.choices(second, k=len(second)))
        for _ in range(_RESAMPLES)
    ]
    return percentile(differences, 2.5), percentile(differences, 97.5)
