"""Describes the calls that subscribers get, in the document's section `webhooks` (docs/webhooks.md)."""

from typing import Any

from .story import SENT_ENTRY
from .teaching import Event, Teaching

_REFERENCE = "#/components/schemas/"
_HEADERS = {
    "webhook-id": ("The ID of the event, the same at every retry and in a replay", SENT_ENTRY),
    "webhook-timestamp": ("When this attempt was signed, in seconds since 1970", "1782465600"),
    "webhook-signature": (
        "One or two signatures, separated by a space (Standard Webhooks): HMAC-SHA256 over ID, timestamp and body",
        "v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=",
    ),
}  # fmt: skip


def add_webhooks(schema: dict[str, Any], teaching: Teaching) -> None:
    """Also the schemas of their bodies."""
    if teaching.events:
        schema["webhooks"] = {name: {"post": _webhook(name, event)} for name, event in teaching.events.items()}
    for event in teaching.events.values():
        own = event.model.model_json_schema(ref_template=_REFERENCE + "{model}")
        schema["components"]["schemas"].update(own.pop("$defs", {}))
        schema["components"]["schemas"][event.model.__name__] = own


def _webhook(name: str, event: Event) -> dict[str, Any]:
    return {
        "operationId": "on_" + name.replace(".", "_"),
        "summary": name,
        "description": f"{event.when}. Sent to subscribers of POST /v1/webhooks that asked for `{name}`.",
        "tags": ["Webhooks"],
        "security": [],
        "parameters": [
            {
                "name": header,
                "in": "header",
                "required": True,
                "description": text,
                "schema": {"type": "string"},
                "example": example,
            }
            for header, (text, example) in _HEADERS.items()
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {"$ref": _REFERENCE + event.model.__name__},
                    "example": {"type": name, **event.example},
                }
            },
        },
        "responses": {
            "200": {"description": "Any 2xx within the timeout: the event is delivered"},
            "410": {"description": "The subscriber wants nothing more: it is disabled, and what waits is canceled"},
            "default": {
                "description": "Any other answer, or none: the event is sent again later, until it is given up"
            },
        },
    }
