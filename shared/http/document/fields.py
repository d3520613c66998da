"""Describes each property of each schema by the string below its field.

    name: str
    \"\"\"How mails address the user.\"\"\"

The interpreter drops such strings, so they cost a process nothing until its document reads the source.
"""

import ast
import sys
from collections.abc import Iterable, Iterator
from enum import Enum
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from fastapi import FastAPI
from fastapi.routing import APIRoute
from pydantic import BaseModel

# What every list has. A model may say something else below its own field.
_OF_EVERY_LIST = {
    "items": "The items of this page, in the order that the call says.",
    "next_cursor": "Send it as `cursor` to read the next page; null: there is none.",
}


def models_of(app: FastAPI) -> dict[str, type[BaseModel]]:
    """Every model in the bodies and answers of the app's calls, by the name of its schema."""
    found: dict[str, type[BaseModel]] = {}
    for route in app.routes:
        if isinstance(route, APIRoute) and route.include_in_schema:
            fields = [route.body_field, route.response_field, *route.response_fields.values()]
            for each in fields:
                if each is not None:
                    add_models(each.field_info.annotation, found)
    return found


def add_models(annotation: Any, found: dict[str, type[BaseModel]]) -> None:
    """Add to `found` the models that a type names, and those that they name."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation.__name__ not in found:
            found[annotation.__name__] = annotation
            for each in annotation.model_fields.values():
                add_models(each.annotation, found)
    elif not (isinstance(annotation, type) and issubclass(annotation, Enum)):
        for inner in get_args(annotation):
            add_models(inner, found)


def describe(schemas: dict[str, Any], models: Iterable[type[BaseModel]]) -> None:
    """Give each property without a description the string below its field."""
    for model in models:
        schema = schemas.get(model.__name__, {})
        texts = _OF_EVERY_LIST | dict(_texts_of(model))
        for name, prop in schema.get("properties", {}).items():
            if "description" not in prop and name in texts:
                prop["description"] = texts[name]


def _texts_of(model: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """The strings of the model and its bases, under the names that JSON has."""
    for owner in reversed(model.__mro__):
        if owner is not BaseModel and issubclass(owner, BaseModel):
            for name, text in _strings_of(owner.__module__).get(owner.__qualname__, {}).items():
                if name in model.model_fields:
                    yield model.model_fields[name].alias or name, text


@cache
def _strings_of(module: str) -> dict[str, dict[str, str]]:
    """For each class of a module, by its qualified name: the string below each field."""
    source = Path(sys.modules[module].__file__ or "").read_text(encoding="utf-8")
    return dict(_classes(ast.parse(source).body, ""))


def _classes(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield prefix + node.name, dict(_below_fields(node.body))
        elif isinstance(node, ast.FunctionDef):
            yield from _classes(node.body, f"{prefix}{node.name}.<locals>.")


def _below_fields(body: list[ast.stmt]) -> Iterator[tuple[str, str]]:
    for field, below in pairwise(body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
            and isinstance(below.value, ast.Constant)
            and isinstance(below.value.value, str)
        ):
            yield field.target.id, " ".join(below.value.value.split())
