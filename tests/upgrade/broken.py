"""What a migration takes from the code before it: statements that worked, and rows that could be written."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import asyncpg

_LISTING = Path(__file__).with_name("list_statements.py")

# Columns of each table, and which of them a row must bring along.
_COLUMNS = """
SELECT c.relname || '.' || a.attname AS name, format_type(a.atttypid, a.atttypmod) AS type,
       a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' AS required
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND a.attnum > 0 AND NOT a.attisdropped
"""
# What refuses rows, with the columns it looks at; without those that a primary key or a column's own NOT NULL says.
_RULES = """
SELECT conrelid::regclass || ': ' || pg_get_constraintdef(k.oid) AS name,
       ARRAY(SELECT conrelid::regclass || '.' || attname FROM pg_attribute
             WHERE attrelid = conrelid AND attnum = ANY (conkey)) AS columns
FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid
WHERE k.connamespace = 'public'::regnamespace AND contype IN ('c', 'u', 'f', 'x') AND NOT c.relispartition
UNION ALL
SELECT pg_get_indexdef(indexrelid), ARRAY(SELECT indrelid::regclass || '.' || attname FROM pg_attribute
             WHERE attrelid = indrelid AND attnum = ANY (indkey))
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND indisunique AND NOT indisprimary AND NOT c.relispartition
"""


def statements_of(checkout: Path, service: str) -> dict[str, str]:
    """By name, in the code of `checkout`."""
    done = subprocess.run(
        [sys.executable, str(_LISTING), service],
        cwd=checkout,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


async def refused_statements(runtime_url: str, statements: dict[str, str]) -> dict[str, str]:
    """What the database says to those that it would not run as the runtime role: columns, tables, grants."""
    connection = await asyncpg.connect(runtime_url)
    refused: dict[str, str] = {}
    for name, text in statements.items():
        try:
            await connection.execute(f"EXPLAIN (GENERIC_PLAN) {text}")
        except asyncpg.PostgresError as error:
            refused[name] = str(error)
    await connection.close()
    return refused


async def refused_rows(before_url: str, after_url: str) -> list[str]:
    """Columns, types and rules by which the schema after refuses rows that the code before writes."""
    before, after = [await _schema(url) for url in (before_url, after_url)]
    tables = {name.split(".")[0] for name in before.types}
    wrong = [f"{name} is gone" for name in before.types.keys() - after.types.keys()]
    for name, kind in after.types.items():
        if name.split(".")[0] in tables:
            if name in before.types and kind != before.types[name]:
                wrong.append(f"{name} was {before.types[name]} and is {kind}")
            if name in after.required - before.required:
                wrong.append(f"{name} must be given, and the code before does not give it")
    for rule, columns in after.rules.items() - before.rules.items():
        if columns and set(columns) <= before.types.keys():
            wrong.append(f"new rule over what was there before: {rule}")
    return sorted(wrong)


class _Schema:
    def __init__(self, columns: Iterable[asyncpg.Record], rules: Iterable[asyncpg.Record]) -> None:
        columns = list(columns)
        self.types = {row["name"]: row["type"] for row in columns}
        self.required = {row["name"] for row in columns if row["required"]}
        self.rules = {row["name"]: tuple(row["columns"]) for row in rules}


async def _schema(url: str) -> _Schema:
    connection = await asyncpg.connect(url)
    try:
        return _Schema(await connection.fetch(_COLUMNS), await connection.fetch(_RULES))
    finally:
        await connection.close()
