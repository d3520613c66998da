"""Puts what a service teaches into its document."""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from ...contract.problems import MEDIA_TYPE
from ..openapi import ErrorPlace, ProblemDocument
from ..routing import keys_of
from .fields import add_models, describe, models_of
from .problem_answers import describe_problems
from .teaching import Named, Teaching, To
from .webhook_calls import add_webhooks

_REFERENCE = "#/components/schemas/"
_INFO = {"contact": {"name": "The Counterfoil authors"}, "license": {"name": "MIT", "identifier": "MIT"}}
_SERVERS = [{"url": "/", "description": "The service that this document comes from"}]
_FROM_FASTAPI = "Successful Response"


def complete(schema: dict[str, Any], app: FastAPI, teaching: Teaching) -> None:
    """Change the document that FastAPI made. Called once."""
    schema["info"] |= {"description": teaching.description, **_INFO}
    schema["servers"] = _SERVERS
    schema["tags"] = [{"name": name, "description": text} for name, text in teaching.tags.items()]
    schemas = schema["components"]["schemas"]
    models = models_of(app)
    for model in (ProblemDocument, ErrorPlace):
        add_models(model, models)
    add_webhooks(schema, teaching)
    for event in teaching.events.values():
        add_models(event.model, models)
    describe(schemas, models.values())
    _describe_answers(schema)
    for operation in operations_of(schema):
        _complete_operation(operation, teaching)
    _name_scopes(schema, app)
    describe_problems(schema, teaching.source)


def _name_scopes(schema: dict[str, Any], app: FastAPI) -> None:
    """Which scopes a key needs, in words and as `x-scopes`. In `security`, linters allow them for OAuth alone."""
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            scopes = sorted({key.scope for key in keys_of(route) if key.scope})
            for method in route.methods or ():
                operation = schema["paths"][route.path_format][method.lower()]
                if scopes:
                    operation["x-scopes"] = scopes
                    named = " and ".join(f"`{scope}`" for scope in scopes)
                    condition = "A key that is sent needs" if {} in operation["security"] else "Needs a key with"
                    operation["description"] += f"\n\n{condition} the scope {named}."


def _describe_answers(schema: dict[str, Any]) -> None:
    """A GET answers what its own text says, other calls what the schema of the answer says."""
    for path in schema["paths"].values():
        for method, operation in path.items():
            for answer in operation["responses"].values():
                if answer["description"] == _FROM_FASTAPI:
                    name = _schema_name(answer.get("content", {}).get("application/json", {}))
                    described = schema["components"]["schemas"].get(name, {}).get("description", "Done: nothing to say")
                    text = operation["description"] if method == "get" else described
                    answer["description"] = _first_sentence(text)


def operations_of(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in schema["paths"].values():
        yield from path.values()


def _complete_operation(operation: dict[str, Any], teaching: Teaching) -> None:
    name = operation["operationId"]
    operation.setdefault("security", [])
    _describe_parameters(operation, teaching)
    for media in operation.get("requestBody", {}).get("content", {}).items():
        _add_example(media, (f"{name} {media[0]}", name), teaching)
    for status, answer in operation["responses"].items():
        for media in answer.get("content", {}).items():
            if media[0] != MEDIA_TYPE:
                _add_example(media, (f"{name} {status} {media[0]}", f"{name} {status}"), teaching)
        if status.startswith("2"):
            links = [to for to in _links_of(answer, f"{name} {status}", teaching) if to.operation != name]
            if links:
                answer["links"] = {to.operation: _link(to) for to in links}


def _describe_parameters(operation: dict[str, Any], teaching: Teaching) -> None:
    name = operation["operationId"]
    for parameter in operation.get("parameters", []):
        about = teaching.parameters.get(f"{name}.{parameter['name']}", teaching.parameters.get(parameter["name"]))
        if about is not None:
            parameter.setdefault("description", about.text)
            if about.example is not None:
                parameter["example"] = about.example


def _add_example(media: tuple[str, dict[str, Any]], names: tuple[str, ...], teaching: Teaching) -> None:
    """The example of this very place, or else that of its schema."""
    _, content = media
    for name in (*names, _schema_name(content)):
        if name in teaching.examples:
            example = teaching.examples[name]
            if isinstance(example, Named):
                content["examples"] = {
                    _slug(words): {"summary": words, "value": value} for words, value in example.examples.items()
                }
            else:
                content["example"] = example
            return


def _links_of(answer: dict[str, Any], name: str, teaching: Teaching) -> list[To]:
    schema = _schema_name(answer.get("content", {}).get("application/json", {}))
    return [*teaching.links.get(name, ()), *teaching.links.get(schema, ())]


def _link(to: To) -> dict[str, Any]:
    link: dict[str, Any] = {"operationId": to.operation, "description": to.text}
    if to.parameters:
        link["parameters"] = dict(to.parameters)
    if to.body is not None:
        link["requestBody"] = dict(to.body)
    return link


def _schema_name(content: dict[str, Any]) -> str:
    """Also of one that may be null. Empty: it has none."""
    schema = content.get("schema", {})
    reference: str = next((one["$ref"] for one in (schema, *schema.get("anyOf", ())) if "$ref" in one), "")
    return reference.removeprefix(_REFERENCE)


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=\.)\s|\n\n", text.strip(), maxsplit=1)[0].replace("\n", " ").rstrip(".")
