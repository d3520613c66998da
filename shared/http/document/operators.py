"""Texts and examples of the calls for operators, which both services have."""

from collections.abc import Mapping, Sequence
from typing import Any

from .story import ALERT, CURSOR, LATER, ROW
from .teaching import About, Named, To

TAGS: Mapping[str, str] = {
    "Audit": "History, sanity checks, alerts and the flow through the stages, for operators. Scopes `audit:read` and "
    "`audit:operate`.",
    "Service": "What this service is, whether it is well, and what its problems mean.",
}

PARAMETERS: Mapping[str, About] = {
    "limit": About("Maximum number of items; values above 500 count as 500", 50),
    "cursor": About("Where to go on: `next_cursor` of the previous page", CURSOR),
    "slug": About("The last part of a problem's `type`", "invalid-request"),
    "list_history.subject": About("Any ID: matches entries about it or related to it", [ROW]),
    "list_history.kind": About("Entries of this kind, like `mail.sent`; repeated: of any of them", ["mail.sent"]),
    "list_history.after": About("Entries at this time or later (RFC 3339)", "2026-06-26T09:00:00Z"),
    "list_history.before": About("Entries before this time (RFC 3339)", "2026-06-26T10:00:00Z"),
}

LINKS: Mapping[str, Sequence[To]] = {
    "HistoryPage": (
        To("list_history", "All about the first entry's subject", {"subject": "$response.body#/items/0/subject"}),
    ),
}  # fmt: skip


def examples(service: str, *, description: str, history: Mapping[str, Any], check: Mapping[str, Any]) -> dict[str, Any]:
    """`history` is an entry, `check` a sanity check of this service with what it found."""
    root = {
        "service": f"Counterfoil {service}",
        "version": "0.1.0",
        "description": description,
        "links": [
            {"path": "/docs", "what": "Every call, to read and to try"},
            {"path": "/openapi.json", "what": "The same for programs: OpenAPI"},
        ],
    }
    found = {
        "status": "warn",
        "checks": {
            "database": {"status": "pass", "observed_value": 0.9, "observed_unit": "ms", "detail": ""},
            "valkey": {"status": "warn", "observed_value": None, "observed_unit": "", "detail": "Does not answer"},
        },
    }
    health = Named({"With a key": found, "Without a key": {"status": "warn"}})
    failing = Named({
        "With a key": {
            "status": "fail",
            "checks": {
                "database": {"status": "fail", "observed_value": None, "observed_unit": "", "detail": "Does not answer"}
            },
        },
        "Without a key": {"status": "fail"},
    })  # fmt: skip
    return {
        "Root": root,
        "get_root 200 text/plain": f"{root['service']} {root['version']}\n{description}\n",
        "Alive": {"status": "pass"},
        "get_health 200": health,
        "get_health 503": failing,
        "Build": {"service": service, "version": "0.1.0", "python": "3.11.9"},
        "get_metrics 200": "# TYPE http_requests_total counter\n"
        'http_requests_total{method="GET",route="/version",status="200"} 17.0\n',
        "OwnKey": {"client": "shop", "key_id": "7GQ2m4XKb9Lp", "scopes": ["audit:read", "users:read"]},
        "ProblemKind": {
            "type": "/problems/invalid-request",
            "title": "The request is not valid",
            "status": 422,
            "explanation": "The request was understood, but a part of it is not acceptable. `errors` names each part.",
        },
        "HistoryPage": {"items": [history], "next_cursor": CURSOR},
        "CheckResults": {"items": [check]},
        "Alerts": {"items": [_ALERT]},
    }


_ALERT = {
    "id": ALERT,
    "name": "webhooks_dead",
    "severity": "warning",
    "subject": "Tell the owners of subscribers that deliveries were given up",
    "since": LATER,
    "opened_at": LATER,
    "seen_at": "2026-06-26T11:25:00.000000Z",
    "reminded_at": None,
    "closed_at": None,
    "mails_sent": 0,
    "mails_owed": 0,
}


def flow(stages: Sequence[Mapping[str, Any]], states: Mapping[str, int], kinds: Mapping[str, float]) -> dict[str, Any]:
    """The example of `GET /audit/flow`: `kinds` are the entries a minute, the same all the time."""
    windows = {"hour": (120, 30), "day": (1800, 48)}
    return {
        "at": LATER,
        "worker_seconds": 2.1,
        "stages": list(stages),
        "states": dict(states),
        **{
            name: {
                "part_seconds": seconds,
                "parts": parts,
                "kinds": {kind: [rate] * parts for kind, rate in kinds.items()},
                "estimated": False,
            }
            for name, (seconds, parts) in windows.items()
        },
    }


def failed_check(name: str, description: str, violation: tuple[str, str]) -> dict[str, Any]:
    """The example of a sanity check: `violation` is the ID of a row, and what is wrong with it."""
    return {
        "name": name,
        "description": description,
        "severity": "red",
        "fixes": False,
        "last_run_at": LATER,
        "violations": 1,
        "examples": [{"id": violation[0], "what": violation[1]}],
        "fixed": 0,
        "fixed_total": 0,
        "error": None,
    }
