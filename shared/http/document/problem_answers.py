"""Describes the 4xx and 5xx answers of each call by the problems that it can give, from their classes.

`error_responses()` marks an answer with the slugs of its problems. Their explanation is what `GET /problems/<slug>`
says, and each has one example for all calls, in `components.examples`.
"""

from collections.abc import Mapping
from typing import Any

from ...contract.problems import MEDIA_TYPE, Problem, kinds
from ..openapi import SLUGS

_CORRELATION_ID = "4f1c2d8e"
# A place that an example names, by the kind of place.
_ERRORS: Mapping[str, list[dict[str, str]]] = {
    "invalid-request": [{"pointer": "/to/email", "detail": "Must be an address like `ada@example.com`"}],
    "request-id-reused": [{"pointer": "/name", "detail": "Differs from the first request with this ID"}],
    "request-id-required": [{"pointer": "/request_id", "detail": "Is required here or in the Idempotency-Key header"}],
    "unsupported-media-type": [{"header": "Content-Type", "detail": "Must be application/json"}],
    "invalid-variables": [{"pointer": "/variables/link", "detail": "Is required"}],
}


def explanation_of(kind: type[Problem]) -> str:
    return " ".join((kind.__doc__ or kind.title).split())


def describe_problems(schema: dict[str, Any], source: str) -> None:
    """Of all kinds of problems, only those of `shared` and of the package `source` are the document's."""
    catalog = {kind.slug: kind for kind in kinds() if kind.__module__.startswith(("shared.", f"{source}."))}
    used: set[str] = set()
    for path in schema["paths"].values():
        for operation in path.values():
            for answer in operation["responses"].values():
                slugs = answer.pop(SLUGS, None)
                if slugs:
                    used.update(slugs)
                    answer["description"] = _description([catalog[slug] for slug in slugs])
                    answer["content"][MEDIA_TYPE]["examples"] = {
                        slug: {"$ref": f"#/components/examples/{slug}"} for slug in slugs
                    }
    schema["components"]["examples"] = {slug: _example(catalog[slug]) for slug in sorted(used)}


def _description(found: list[type[Problem]]) -> str:
    lines = [f"`{kind.slug}`: {explanation_of(kind)}" for kind in found]
    return lines[0] if len(lines) == 1 else "\n".join(f"- {line}" for line in lines)


def _example(kind: type[Problem]) -> dict[str, Any]:
    value: dict[str, Any] = {
        "type": f"/problems/{kind.slug}",
        "title": kind.title,
        "status": kind.status,
        "detail": explanation_of(kind),
        "request_id": _CORRELATION_ID,
    }
    if kind.slug in _ERRORS:
        value["errors"] = _ERRORS[kind.slug]
    return {"summary": kind.title, "value": value}
