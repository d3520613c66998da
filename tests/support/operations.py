"""The calls of an OpenAPI document, and every place in them that takes a value, with its schema.

Tests walk them, so a new field is covered by itself. `sample` builds what a call needs besides the value under test.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from shared.contract.problems import pointer

Schema = dict[str, Any]
Path = tuple[str | int, ...]
ABSENT = object()

# What the schema of a required string does not say.
_BY_FORMAT = {
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "idn-email": "bo@example.org",
    "uri": "https://hooks.example/x",
}
_BY_NAME = {"email": "bo@example.org", "fingerprint": "0" * 64, "message_id": "<a@b.example>"}


@dataclass(frozen=True)
class Place:
    """Where a value goes: `location` is `body`, `query`, `path` or `header`; `path` leads there in a body."""

    location: str
    path: Path
    schema: Schema
    required: bool = False

    @property
    def name(self) -> str:
        return str(self.path[-1])

    @property
    def error(self) -> tuple[str, str]:
        """How an entry of a problem's `errors` names this place."""
        if self.location == "body":
            return "pointer", pointer(self.path)
        return ("header" if self.location == "header" else "parameter"), self.name

    def takes(self, kind: str) -> bool:
        """Whether values of a JSON type are allowed here; a free-form place takes all."""
        return not self.schema or self.schema.get("type") == kind


@dataclass(frozen=True)
class Call:
    method: str
    path: str
    operation: Schema
    document: Schema

    @property
    def url(self) -> str:
        return self.url_with({})

    def url_with(self, values: dict[str, str]) -> str:
        """The path with these percent-encoded values, and otherwise with IDs of rows that do not exist."""
        path = self.path
        for parameter in self.operation.get("parameters", []):
            if parameter["in"] == "path":
                is_id = parameter["schema"].get("format") == "uuid"
                value = values.get(parameter["name"], str(uuid4()) if is_id else "unknown@x.example")
                path = path.replace(f"{{{parameter['name']}}}", value)
        return path

    @property
    def is_page(self) -> bool:
        """A page for people, who bring no key."""
        is_html = "text/html" in self.operation["responses"].get("200", {}).get("content", {})
        return is_html and not self.operation.get("security")

    @property
    def media(self) -> dict[str, Any]:
        """The schemas of the body, by media type."""
        return {
            media: content["schema"]
            for media, content in self.operation.get("requestBody", {}).get("content", {}).items()
        }

    @property
    def takes_json(self) -> bool:
        return "application/json" in self.media

    @property
    def body_schema(self) -> Schema:
        return _resolved(self.media["application/json"], self.document)

    def places(self) -> Iterator[Place]:
        """Every place, parameters first. Objects and lists are places, and so is each field, item and member."""
        for parameter in self.operation.get("parameters", []):
            schema = _resolved(parameter["schema"], self.document)
            name = parameter["name"]
            if schema.get("type") == "object":  # a family of parameters
                name, schema = f"{name}.key", {"type": "string"}
            yield Place(parameter["in"], (name,), schema, parameter.get("required", False))
        if self.takes_json:
            yield from _places((), self.body_schema, self.document)

    def body(self, path: Path = (), value: Any = ABSENT) -> Any:
        """The smallest body, with `value` at `path` (or nothing there)."""
        body = sample(self.body_schema, self.document)
        if not path:
            return body if value is ABSENT else value
        schema, inside = self.body_schema, body
        for step, following in pairwise(path):
            schema = _child(schema, step, self.document)
            inside = _entered(inside, step, [] if isinstance(following, int) else sample(schema, self.document))
        _put(inside, path[-1], value)
        return body


def _entered(inside: Any, step: str | int, empty: Any) -> Any:
    if isinstance(inside, list):
        if not inside:
            inside.append(empty)
        return inside[0]
    if not inside.get(step):
        inside[step] = empty if isinstance(empty, dict | list) else {}
    return inside[step]


def _put(inside: Any, step: str | int, value: Any) -> None:
    if isinstance(inside, list):
        inside[:] = [] if value is ABSENT else [value]
    elif value is ABSENT:
        inside.pop(step, None)
    else:
        inside[step] = value


async def calls_of(http: httpx.AsyncClient) -> list[Call]:
    document = (await http.get("/openapi.json")).json()
    return [
        Call(method.upper(), path, operation, document)
        for path, of in document["paths"].items()
        for method, operation in of.items()
    ]


def query_url(call: Call, pairs: Sequence[tuple[str, str]]) -> str:
    """The call's URL with a query; values that are percent-encoded already keep their bytes."""
    return f"{call.url}?" + "&".join(f"{name}={quote(value, safe='%')}" for name, value in pairs)


def sample(schema: Schema, document: Schema, name: str = "") -> Any:
    """The smallest value that a schema allows."""
    schema = _resolved(schema, document)
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    kind = schema.get("type")
    if kind == "object":
        return {field: sample(schema["properties"][field], document, field) for field in schema.get("required", [])}
    if kind == "array":
        return [sample(schema["items"], document)] if schema.get("minItems") else []
    others = {"integer": schema.get("minimum", 1), "number": schema.get("minimum", 1), "boolean": True}
    return others.get(str(kind), _BY_FORMAT.get(schema.get("format", ""), _BY_NAME.get(name, "x")))


def _resolved(schema: Schema, document: Schema) -> Schema:
    """Without references, and without `null` or other alternatives: the first one that says something."""
    while "$ref" in schema or "anyOf" in schema:
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        else:
            schema = next(one for one in schema["anyOf"] if one.get("type") != "null")
    return {} if schema.keys() <= {"title", "description", "default"} else schema


def _child(schema: Schema, step: str | int, document: Schema) -> Schema:
    if isinstance(step, int):
        return _resolved(schema.get("items", {}), document)
    members = schema.get("additionalProperties") or {}
    return _resolved(schema.get("properties", {}).get(step, members if isinstance(members, dict) else {}), document)


def _places(path: Path, schema: Schema, document: Schema, *, required: bool = True) -> Iterator[Place]:
    yield Place("body", path, schema, required)
    for name in schema.get("properties", {}):
        inner = _child(schema, name, document)
        yield from _places((*path, name), inner, document, required=name in schema.get("required", []))
    if schema.get("additionalProperties"):
        yield from _places((*path, "key"), _child(schema, "key", document), document, required=False)
    if schema.get("type") == "array":
        yield from _places((*path, 0), _child(schema, 0, document), document, required=False)
