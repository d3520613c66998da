"""`python -m services.signup import FILE`: uploads a file to the API, shows progress, and prints a summary.

It only speaks HTTP with the API, so it runs on any host that reaches the API. The idempotency key is derived from the
file and the options: the same command again resumes the same import, or reports it.
"""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import indent
from typing import Any, TextIO

import httpx

from shared.observability.foreign_errors import describe

from ..imports.file_format import CSV_EXAMPLE, NDJSON_EXAMPLE, columns_as_text
from ..settings import Settings

DONE, NOT_DONE, SOME_INVALID, INTERRUPTED = 0, 1, 3, 130
_MEDIA = {".csv": "text/csv", ".ndjson": "application/x-ndjson", ".jsonl": "application/x-ndjson"}
_CONNECT_SECONDS, _ANSWER_SECONDS = 10.0, 300.0
_POLL_SECONDS = 0.5
# The API may restart meanwhile; the import continues without it.
_MAX_SILENT_SECONDS = 60.0
_BAR_CELLS = 30
_SHOWN_REASONS = 10
_REFUSED = 400
_DESCRIPTION = """\
Upload FILE (.csv, .ndjson or .jsonl) to POST /v1/imports and follow the import. The same command again resumes the
same import. Exit status: 0 done, 3 done with invalid rows, 1 otherwise.
"""
_FORMAT = f"""\
The file is UTF-8. The first line of CSV names the columns, in any order; NDJSON has one object per line.

{columns_as_text()}

A field with a comma, a quote or a line end stands in quotes, with quotes inside it written twice; only metadata may
hold line ends. A line that cannot be read is reported as invalid, and the lines after it are imported.

users.csv:
{indent(CSV_EXAMPLE, "  ")}
users.ndjson:
{indent(NDJSON_EXAMPLE, "  ")}"""


class ImportFailedError(Exception):
    """The import failed. The message is for the operator."""


@dataclass(frozen=True)
class Terminal:
    """Where to print progress, and how to wait."""

    progress: TextIO
    sleep: Callable[[float], None] = time.sleep


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "import",
        help="import the users of a file through the API",
        description=_DESCRIPTION,
        epilog=_FORMAT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, help=".csv with a header line, or .ndjson/.jsonl with one object per line")
    parser.add_argument("--source", help="where these users come from; default: the key's client")
    parser.add_argument("--mails-per-minute", type=int, help="default 600; 0: unpaced")
    parser.add_argument("--dry-run", action="store_true", help="report each row's outcome and create no user")
    parser.add_argument("--api-url", help="base URL of the API; default: SIGNUP_URL")
    parser.add_argument("--key", help="an API key with scope users:import; default: SIGNUP_API_KEY, then OPERATOR_KEY")


def run(arguments: argparse.Namespace, settings: Settings, terminal: Terminal | None = None) -> int:
    """Carry out a parsed `import` command. Returns the exit status."""
    terminal = terminal or Terminal(sys.stderr)
    url = arguments.api_url or os.environ.get("SIGNUP_URL") or f"http://{settings.signup_host}:{settings.signup_port}"
    key = arguments.key or os.environ.get("SIGNUP_API_KEY") or os.environ.get("OPERATOR_KEY")
    if not key:
        print("no API key: give --key, or set SIGNUP_API_KEY or OPERATOR_KEY in the environment", file=sys.stderr)
        return NOT_DONE
    timeout = httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=timeout, trust_env=False) as api:
        try:
            started = _send(api, arguments)
            final = _follow(api, started["id"], terminal)
            return _print_summary(api, final)
        except (ImportFailedError, OSError) as error:
            print(f"import: {error}", file=sys.stderr)
            return NOT_DONE
        except httpx.HTTPError as error:
            print(f"import: the signup API did not answer: {describe(error)}", file=sys.stderr)
            return NOT_DONE
        except KeyboardInterrupt:
            print("\nThe import continues in the worker. Run the same command again to follow it.", file=sys.stderr)
            return INTERRUPTED


def _send(api: httpx.Client, arguments: argparse.Namespace) -> dict[str, Any]:
    media = _MEDIA.get(arguments.file.suffix.lower())
    if media is None:
        raise ImportFailedError(f"{arguments.file.name}: the file name must end in one of {', '.join(_MEDIA)}")
    params: dict[str, Any] = {"source": arguments.source, "mails_per_minute": arguments.mails_per_minute}
    params = {name: value for name, value in params.items() if value is not None}
    if arguments.dry_run:
        params["dry_run"] = "true"
    with arguments.file.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        digest.update(repr((media, sorted(params.items()))).encode())
        file.seek(0)
        headers = {"Content-Type": media, "Idempotency-Key": f"import-{digest.hexdigest()}"}
        answer = api.post("/v1/imports", params=params, content=file, headers=headers)
    return _read(answer)


def _follow(api: httpx.Client, import_id: str, terminal: Terminal) -> dict[str, Any]:
    """Poll until the import is done, canceled or failed."""
    silent_since: float | None = None
    while True:
        try:
            answer = api.get(f"/v1/imports/{import_id}")
        except httpx.TransportError:
            silent_since = silent_since or time.monotonic()
            if time.monotonic() - silent_since > _MAX_SILENT_SECONDS:
                raise
        else:
            silent_since = None
            state = _read(answer)
            _print_progress(state, terminal.progress)
            if state["state"] in {"done", "canceled", "failed"}:
                if terminal.progress.isatty():
                    print(file=terminal.progress)
                return state
        terminal.sleep(_POLL_SECONDS)


def _read(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code >= _REFUSED:
        try:
            problem = answer.json()
            detail = f"{problem['title']}: {problem['detail']}"
        except (ValueError, KeyError):
            detail = answer.reason_phrase
        raise ImportFailedError(f"the API answered {answer.status_code} {detail}")
    found: dict[str, Any] = answer.json()
    return found


def bar(state: dict[str, Any]) -> str:
    """A one-line progress bar."""
    rows, seen = state["rows"], sum(state["outcomes"].values())
    share = seen / rows if rows else 1.0
    filled = "#" * int(share * _BAR_CELLS)
    return f"[{filled:<{_BAR_CELLS}}] {share:4.0%}  {seen}/{rows} rows  {state['state']}"


def _print_progress(state: dict[str, Any], progress: TextIO) -> None:
    # Only a terminal can overwrite a line.
    if progress.isatty():
        print(f"\r{bar(state)}\x1b[K", end="", file=progress, flush=True)


def _print_summary(api: httpx.Client, state: dict[str, Any]) -> int:
    outcomes = state["outcomes"]
    print(f"import {state['id']} {state['state']}{' (dry run)' if state['dry_run'] else ''}")
    print(f"  rows            {state['rows']}")
    for name, count in outcomes.items():
        print(f"  {name:<15} {count}")
    print(f"  mails owed      {state['mails_owed']}")
    print(f"  mails left      {state['mails_left']}{_time_left(state)}")
    if state["failure"]:
        print(f"  {state['failure']}")
    if outcomes["invalid"]:
        params: dict[str, str | int] = {"outcome": "invalid", "limit": _SHOWN_REASONS}
        for row in _read(api.get(f"/v1/imports/{state['id']}/rows", params=params))["items"]:
            print(f"  line {row['line']}: {row['reason']}")
        if outcomes["invalid"] > _SHOWN_REASONS:
            print(f"  see all: GET /v1/imports/{state['id']}/rows?outcome=invalid")
    if state["state"] != "done":
        return NOT_DONE
    return SOME_INVALID if outcomes["invalid"] else DONE


def _time_left(state: dict[str, Any]) -> str:
    if not state["mails_left"] or not state["mails_per_minute"]:
        return ""
    return f" (about {state['mails_left'] / state['mails_per_minute']:.0f} min at {state['mails_per_minute']}/min)"
