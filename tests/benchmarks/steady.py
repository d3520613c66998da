"""Signups at a steady rate through the whole product, cut into windows: is the last one like the first?"""

import itertools
import json
import subprocess
import sys
import time
from dataclasses import dataclass, field

from tests.support.databases import ROOT

from .processor_time import Meter, per_unit
from .product import Product
from .report import percentile
from .settled import await_settled

CONNECTIONS = 16
# What was accepted may still wait when the load ends. Behind a held snapshot that can be very much.
_PATIENCE_SECONDS = 7200.0
_WARM_UP_SECONDS = 5
# Longer than the load by this, the client has hung.
_CLIENT_PATIENCE_SECONDS = 600.0

_ACCEPTED = """
SELECT count(*) FROM users WHERE created_at >= to_timestamp($1::float8) AND created_at < to_timestamp($2::float8)
"""
_MAILED = """
SELECT count(*) FROM mails WHERE sent_at >= to_timestamp($1::float8) AND sent_at < to_timestamp($2::float8)
"""
# Outbox ID, which is the mail's request ID, and when the signup's transaction began.
_ACCEPTED_AT = """
SELECT jsonb_object_agg(id, extract(epoch FROM created_at))::text FROM outbox_settled
WHERE effect = 'mail' AND created_at >= to_timestamp($1::float8) AND created_at < to_timestamp($2::float8)
"""
_SENT_AT = """
SELECT jsonb_object_agg(request_id, extract(epoch FROM sent_at))::text FROM mails
WHERE client = 'signup' AND request_id = ANY ($1::text[]) AND sent_at IS NOT NULL
"""


@dataclass(frozen=True)
class Window:
    """Rates a second, and processor milliseconds for each mail sent in this window, by process."""

    accepted: float
    mailed: float
    cost: dict[str, float]
    # Milliseconds from the begin of a signup's transaction to its 250; only in the first and the last window.
    waits: list[float] = field(default_factory=list)

    @property
    def total(self) -> float:
        return sum(self.cost.values())

    def wait(self, percent: float) -> float:
        return percentile(self.waits, percent)


@dataclass(frozen=True)
class Sample:
    at: float
    seconds: dict[str, float]


def warm_up(product: Product, rate: float) -> None:
    with _client(product, "warm", _WARM_UP_SECONDS, rate) as client:
        client.communicate(timeout=_CLIENT_PATIENCE_SECONDS)
    await_settled(product, _PATIENCE_SECONDS)


def sample_load(product: Product, meter: Meter, *, rate: float, seconds: float, window: float) -> list[Sample]:
    """Read the processor times at both ends of every window.

    Raises:
        RuntimeError: some answer was not a 2xx.
    """
    count = max(2, round(seconds / window))
    with _client(product, "steady", count * window, rate) as client:
        samples = [Sample(time.time(), meter.read())]
        began = time.monotonic()
        for number in range(1, count + 1):
            time.sleep(max(0.0, began + number * window - time.monotonic()))
            samples.append(Sample(time.time(), meter.read()))
        output, _ = client.communicate(timeout=_CLIENT_PATIENCE_SECONDS)
    failed = json.loads(output.partition("JSON ")[2])["errors"] if client.returncode == 0 else "all"
    if failed:
        raise RuntimeError(f"{failed} requests failed")
    return samples


def windows(product: Product, samples: list[Sample]) -> list[Window]:
    """Wait until all is mailed, then look up what happened in each window."""
    await_settled(product, _PATIENCE_SECONDS)
    spans = list(itertools.pairwise(samples))
    return [
        _window(product, first, last, with_waits=number in {0, len(spans) - 1})
        for number, (first, last) in enumerate(spans)
    ]


def _window(product: Product, first: Sample, last: Sample, *, with_waits: bool) -> Window:
    span, seconds = (first.at, last.at), last.at - first.at
    accepted: int = product.fetchval("signup", _ACCEPTED, *span)
    mailed: int = product.fetchval("mail", _MAILED, *span)
    cost = per_unit(first.seconds, last.seconds, max(1, mailed))
    return Window(accepted / seconds, mailed / seconds, cost, _waits(product, span) if with_waits else [])


def _waits(product: Product, span: tuple[float, float]) -> list[float]:
    accepted: dict[str, float] = json.loads(product.fetchval("signup", _ACCEPTED_AT, *span) or "{}")
    sent: dict[str, float] = json.loads(product.fetchval("mail", _SENT_AT, list(accepted)) or "{}")
    if len(sent) != len(accepted):
        raise RuntimeError(f"{len(sent)} of {len(accepted)} mails were sent")
    return [(sent[request_id] - at) * 1000 for request_id, at in accepted.items()]


def _client(product: Product, tag: str, seconds: float, rate: float) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.benchmarks.client", product.stack.signup_url, tag, str(seconds)]
    command += ["--rate", str(rate), "--connections", str(CONNECTIONS)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
