"""What a page of the console costs the two databases with a million people and mails behind it.

The time is the servers' own (pg_stat_statements: planning and execution), of both databases together; only the two APIs
run. Each page is loaded once before it counts, as is usual when somebody looks around; the overview also right after
both APIs have started, when it knows nothing yet.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID, uuid4

import httpx

from shared.contract.ids import uuid7

from .options import Options
from .past import write_past
from .product import Product, running_product
from .report import Row, over_rounds

MANY, FEW = 1_000_000, 30_000
AT_MOST_MILLISECONDS = 50
_MODULE = "pg_stat_statements"
# Neither alerts nor their checks run beside.
_QUIET = {"ALERT_SECONDS": "86400"}
_SPENT = f"""
SELECT coalesce(sum(total_exec_time + total_plan_time), 0)::float8
FROM {_MODULE} JOIN pg_roles ON pg_roles.oid = userid WHERE rolname IN ('signup_app', 'mail_app')
"""
_MAIL = "SELECT id FROM mails WHERE to_key = 'past-' || $1::int || '@bench.example'"
_USER = "SELECT id FROM users WHERE email_key = 'past-' || $1::int || '@bench.example'"
_DEAD = """
INSERT INTO outbox (effect, payload, state, due_at, attempts, last_error, dead_at, expires_at)
SELECT 'mail', '{}', 'dead', NULL, 1, 'refused ' || n % 7, now(), now() FROM generate_series(1, 10000) n RETURNING 1
"""
# An import of people who are all there already, by the operator's client; the last row is no person.
_IMPORT = """
WITH import AS (
    INSERT INTO imports (client, source, media, dry_run, mails_per_minute, state, row_count, done_through_line,
                         already_exists, body_digest, finished_at, actor)
    SELECT client, 'crm', 'csv', false, 100, 'done', $1::int, $1, $1, sha256(''), now(), 'key'
    FROM api_keys LIMIT 1 RETURNING id
), rows AS (
    INSERT INTO import_rows (import_id, line, outcome, reason, email, email_key)
    SELECT id, n, CASE n WHEN $1 THEN 'invalid' ELSE 'already_exists' END, 'a reason', email, email
    FROM import, generate_series(1, $1) AS n, LATERAL (SELECT 'past-' || n || '@bench.example' AS email) AS address
)
SELECT id FROM import
"""


def run(options: Options) -> list[Row]:
    people = options.choose(options.people, full=MANY, quick=FEW)
    rounds = options.choose(options.rounds, full=5, quick=2)
    with running_product("console", settings=_QUIET) as product:
        write_past(product, people)
        _count_statements(product)
        product.fetchval("signup", _DEAD)
        product.fetchval("signup", _IMPORT, people)
        product.execute("signup", "ANALYZE outbox, imports, import_rows")
        return list(_measure(product, people, rounds))


def _count_statements(product: Product) -> None:
    """The module has to be loaded when the server starts."""
    for name, value in (("shared_preload_libraries", _MODULE), (f"{_MODULE}.track_planning", "on")):
        product.execute("postgres", f"ALTER SYSTEM SET {name} = '{value}'")
    product.stack.stop_server("postgres")
    product.stack.start_server("postgres")
    product.execute("postgres", f"CREATE EXTENSION {_MODULE}")


def _measure(product: Product, people: int, rounds: int) -> Iterator[Row]:
    spent: list[float] = []
    for _ in range(rounds):
        product.run_only()
        product.run_only("signup-api", "mail-api")
        with _operator(product) as http:
            spent.append(_cost(product, http, "/console"))
    yield _row("overview, right after a start", spent, people)
    with _operator(product) as http:
        for name, path in _pages(product, people).items():
            http.get(path)
            took: list[float] = []
            spent = []
            for _ in range(rounds):
                began = time.perf_counter()
                spent.append(_cost(product, http, path))
                took.append((time.perf_counter() - began) * 1000)
            yield _row(name, spent, people, note=f"answered in {statistics.median(took):.0f} ms with the measuring")


def _pages(product: Product, people: int) -> dict[str, str]:
    mail: UUID = product.fetchval("mail", _MAIL, people // 2)
    user: UUID = product.fetchval("signup", _USER, people // 2)
    imported: UUID = product.fetchval("signup", "SELECT id FROM imports")
    return {
        "overview": "/console",
        "newest people": "/console/people",
        "a person": f"/console/people/{user}",
        "find an address": "/console/people?q=past-77@bench.example",
        "find a name that nobody has": "/console/people?q=Zacharias",
        "find an ID that nobody has": f"/console/people?q={uuid4()}",
        "find a correlation ID": f"/console/people?q={uuid7()}",
        "find a correlation ID of another service": "/console/people?q=shop-7f3a",
        "mails": "/console/mails",
        "mails that failed": "/console/mails?state=failed",
        "mails sent after all others": "/console/mails?sent_after=2999-01-01T00:00",
        "a mail": f"/console/mails/{mail}",
        "uncertain mails": "/console/uncertain",
        "suppressions": "/console/suppressions",
        "outbox, 10,000 rows dead": "/console/outbox",
        "dead rows": "/console/outbox?state=dead",
        "rows of an effect that has none": "/console/outbox?effect=webhook",
        "canceled rows, of which there are none": "/console/outbox?state=canceled",
        "imports": "/console/imports",
        "an import with as many rows": f"/console/imports/{imported}",
        "its invalid rows, the last": f"/console/imports/{imported}?outcome=invalid",
        "its created rows, of which there are none": f"/console/imports/{imported}?outcome=created",
        "reconciliations": "/console/reconciliation",
        "findings": "/console/reconciliation/findings",
        "checks and alerts": "/console/checks",
        "gateways": "/console/gateways",
        "webhooks": "/console/webhooks",
        "history": "/console/history",
        "history of a client": "/console/history?subject=signup",
        "history of a kind that there is not": "/console/history?kind=nothing",
    }


@contextmanager
def _operator(product: Product) -> Iterator[httpx.Client]:
    """A browser that has signed in, and has looked at no page that costs."""
    url = product.stack.signup_url
    with httpx.Client(base_url=url, timeout=60, trust_env=False, follow_redirects=True) as http:
        answer = http.post("/console/sign-in", data={"key": product.stack.operator_key, "next": "/console/gateways"})
        if answer.url.path != "/console/gateways":
            raise RuntimeError(f"the operator could not sign in: {answer.status_code}")
        yield http


def _cost(product: Product, http: httpx.Client, path: str) -> float:
    """Milliseconds that one load of the page took both databases."""
    product.fetchval("postgres", f"SELECT count(*) FROM (SELECT {_MODULE}_reset()) AS nothing")
    answer = http.get(path)
    if not answer.is_success or "Only signup" in answer.text:
        raise RuntimeError(f"{path} answered {answer.status_code}")
    spent: float = product.fetchval("postgres", _SPENT)
    return spent


def _row(page: str, spent: list[float], people: int, note: str = "") -> Row:
    return over_rounds("console", f"{page}, {people:,} behind", spent, "ms", at_most=AT_MOST_MILLISECONDS, note=note)
