"""Prints as JSON every SQL statement of the code in the current directory: `python list_statements.py signup`.

Runs inside the tree of an earlier commit, so it may import nothing of the present one. Statements are the constants of
modules; for the lists that SQLAlchemy builds, every column of each table is read.
"""

import importlib
import json
import pkgutil
import re
import sys
from collections.abc import Iterator
from types import ModuleType

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

_STATEMENT = re.compile(r"\s*(--[^\n]*\n\s*)*(SELECT|INSERT|UPDATE|DELETE|WITH)\b")


def _modules(*packages: str) -> Iterator[ModuleType]:
    for name in packages:
        package = importlib.import_module(name)
        yield package
        for found in pkgutil.walk_packages(package.__path__, f"{name}."):
            if not found.name.endswith("__main__"):
                yield importlib.import_module(found.name)


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in _texts(item))
    elif isinstance(value, (list, tuple, set, frozenset)):
        yield from (text for item in value for text in _texts(item))
    elif isinstance(value, sa.TextClause):
        yield value.text


def statements(service: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for module in _modules("shared", f"services.{service}"):
        for name, value in vars(module).items():
            for number, text in enumerate(_texts(value)):
                if _STATEMENT.match(text):
                    found.setdefault(text, f"{module.__name__}.{name}" + (f"[{number}]" if number else ""))
    tables = importlib.import_module(f"services.{service}.tables").metadata.sorted_tables
    for table in tables:
        dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
        text = str(sa.select(table).compile(dialect=dialect))
        found.setdefault(text, f"services.{service}.tables: {table.name}")
    return {name: text for text, name in found.items()}


if __name__ == "__main__":
    sys.path.insert(0, ".")
    json.dump(statements(sys.argv[1]), sys.stdout)
