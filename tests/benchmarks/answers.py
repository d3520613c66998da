"""How long questions about the past take: each filter of the list of mails, a bulk lookup, one person's timeline."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx
import orjson

from .past import RARE_TAG
from .product import Product

LOOKED_UP = 1_000
_PATIENCE_SECONDS = 300.0
# A question that takes long is asked less often.
_BUDGET_SECONDS = 60.0
# The mail in the middle, by ID. Everything the filters are asked with is its own.
_MAIL = """
SELECT jsonb_build_object('request_id', request_id, 'to', to_email, 'user_id', metadata ->> 'user_id',
                          'at', to_char(accepted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'))::text
FROM mails WHERE to_key = 'past-' || $1::int || '@bench.example'
"""
_SOME = "SELECT ARRAY(SELECT request_id FROM mails WHERE to_key = ANY ($1::text[]))"
_PEOPLE = "SELECT count(*) FROM users WHERE email_key LIKE 'past-%'"


@dataclass(frozen=True)
class Answered:
    """Milliseconds of each answer; and the status of one that was no 2xx, after which the question was not repeated."""

    times: list[float]
    failure: str = ""


def measure(product: Product, *, times: int) -> dict[str, Answered]:
    """By question. Starts both APIs, and stops them again."""
    product.run_only("signup-api", "mail-api")
    people: int = product.fetchval("signup", _PEOPLE)
    middle = orjson.loads(product.fetchval("mail", _MAIL, people // 2))
    some = [f"past-{number * (people // LOOKED_UP) + 1}@bench.example" for number in range(LOOKED_UP)]
    request_ids: list[str] = product.fetchval("mail", _SOME, some)
    headers = {"Authorization": f"Bearer {product.stack.operator_key}"}
    measured: dict[str, Answered] = {}
    with httpx.Client(headers=headers, timeout=_PATIENCE_SECONDS, trust_env=False) as http:
        mails = f"{product.stack.mail_url}/v1/mails"
        questions: dict[str, Callable[[], httpx.Response]] = {
            f"GET /v1/mails?{name}": lambda params=params: http.get(mails, params=params)  # type: ignore[misc]
            for name, params in filters(middle).items()
        }
        questions[f"POST /v1/mails/lookup, {LOOKED_UP:,} IDs"] = lambda: http.post(
            f"{mails}/lookup", json={"request_ids": request_ids}
        )
        timeline = f"{product.stack.signup_url}/audit/users/{middle['user_id']}"
        questions["GET /audit/users/{id}"] = lambda: http.get(timeline)
        for question, ask in questions.items():
            measured[question] = _ask(ask, times)
    product.run_only()
    return measured


def filters(mail: dict[str, str]) -> dict[str, dict[str, str]]:
    """By what the table calls them: selective ones, ones that match nearly everything, ones that match nothing."""
    at = mail["at"]
    return {
        "": {},
        "request_id": {"request_id": mail["request_id"]},
        "to": {"to": mail["to"]},
        "state=sent": {"state": "sent"},
        "state=queued (none)": {"state": "queued"},
        "state=failed (none)": {"state": "failed"},
        "template": {"template": "verification"},
        "template (none)": {"template": "welcome"},
        "client": {"client": "signup"},
        "tag (all)": {"tag": "verification"},
        "tag (one)": {"tag": RARE_TAG},
        "metadata.user_id": {"metadata.user_id": mail["user_id"]},
        "accepted_after (half)": {"accepted_after": at},
        "accepted_before (half)": {"accepted_before": at},
        "sent_after (half)": {"sent_after": at},
        "sent_before (half)": {"sent_before": at},
    }


def _ask(ask: Callable[[], httpx.Response], times: int) -> Answered:
    found: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        answer = ask()
        found.append((time.perf_counter() - began) * 1000)
        if not answer.is_success:
            return Answered(found, f"answered {answer.status_code}")
        if sum(found) > _BUDGET_SECONDS * 1000:
            break
    return Answered(found)
