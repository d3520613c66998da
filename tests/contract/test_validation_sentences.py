"""Every sentence with which a call refuses a value, collected from both services by wrong requests.

They are kept in validation-sentences.md, so that a person reads each one once. After a change delete that file, run
this test, and read what is new in it: what is wrong, and what is allowed, in the unit that a caller thinks in.
"""

import re
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from services.signup.imports.row_parser import ImportRow, Unreadable, read_row
from tests.contract.wrong_values import MARK, wrong_requests, wrong_values
from tests.support.operations import ABSENT, Call, Place, calls_of
from tests.support.stack import Ledgers

KEPT = Path(__file__).with_name("validation-sentences.md")
HEADER = """# Validation sentences

Written by test_validation_sentences.py: what the calls of both services say about wrong values, and where. To be read.
"""
# As many places as show what a sentence is about.
SHOWN = 8
REFUSALS = {400, 403, 413, 415, 422}
# How libraries speak. We say "must".
FOREIGN = re.compile(
    r"\bshould\b|dictionary|\binstance\b|after validation|[Vv]alue error|unable to|\bensure\b|JSON decode"
)
# The units, and the type of value that is counted in each.
UNITS = {r"\d characters?\b": "string", r"\d items?\b": "array", r"\d fields?\b": "object", r"\d times?$": "array"}


@dataclass(frozen=True)
class Said:
    sentence: str
    service: str
    place: str
    kind: str | None


def _errors(answer: httpx.Response) -> Iterator[dict[str, str]]:
    if not answer.headers.get("content-type", "").endswith("json"):
        return
    if answer.status_code == httpx.codes.OK and "results" in answer.json():
        for result in answer.json()["results"]:
            yield from result.get("problem", {}).get("errors", [])
    elif answer.status_code in REFUSALS:
        problem = answer.json()
        yield from problem.get("errors", [{"detail": problem["detail"]}])


def _told(answer: httpx.Response) -> str:
    """What an answer says of faults. A batch repeats each request ID on purpose."""
    results = answer.json().get("results", []) if answer.status_code == httpx.codes.OK else []
    return str([result.get("problem") for result in results]) if results else answer.text


def _kinds(call: Call) -> dict[tuple[str, str], str | None]:
    """The type of the value at each place. The items of a batch are told apart, so their places begin at the item."""
    kinds = {place.error: place.schema.get("type") for place in call.places()}
    return {(key, name.removeprefix("/mails/0")): kind for (key, name), kind in kinds.items()} | kinds


async def _said(service: str, http: httpx.AsyncClient) -> AsyncIterator[tuple[Said, httpx.Response]]:
    for call in await calls_of(http):
        kinds = _kinds(call)
        for request in wrong_requests(call):
            answer = await http.request(call.method, **request)
            assert answer.status_code < httpx.codes.INTERNAL_SERVER_ERROR, (call.path, str(request)[:500], answer.text)
            for error in _errors(answer):
                where = next(
                    ((key, error[key]) for key in ("pointer", "parameter", "header") if key in error), ("", "")
                )
                place = " ".join(filter(None, (where[0] if where[0] != "pointer" else "", where[1]))) or "the request"
                yield Said(error["detail"], service, place, kinds.get(where)), answer


def _said_of_rows() -> Iterator[Said]:
    """What the report of an import says about rows."""
    schema = ImportRow.model_json_schema(ref_template="#/components/schemas/{model}")
    content = {"application/json": {"schema": schema}}
    call = Call("row", "", {"requestBody": {"content": content}}, {"components": {"schemas": schema.pop("$defs", {})}})
    for place in call.places():
        for body in _row_bodies(call, place):
            read = read_row(1, orjson.dumps(body))
            if isinstance(read, Unreadable):
                assert MARK not in read.reason
                for reason in read.reason.split("; "):
                    field, _, sentence = reason.partition(": ")
                    yield Said(sentence or field, "import", field if sentence else "row", None)


def _row_bodies(call: Call, place: Place) -> Iterator[Any]:
    yield from (call.body(place.path, value) for value in wrong_values(place, call))
    yield from [call.body(place.path, ABSENT)] if place.path else []
    yield call.body((*place.path, "unknown"), 1) if place.schema.get("type") == "object" else call.body()


def _as_document(said: set[Said]) -> str:
    places: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in said:
        places[one.sentence][one.service].add(one.place)
    chapters = [
        "\n".join(
            [f"## {sentence}", *(_line(service, places[sentence][service]) for service in sorted(places[sentence]))]
        )
        for sentence in sorted(places)
    ]
    return "\n\n".join([HEADER.strip(), *chapters]) + "\n"


def _line(service: str, places: set[str]) -> str:
    shown = sorted(places)[:SHOWN]
    return f"- {service}: {', '.join(shown)}{', …' if len(places) > SHOWN else ''}"


async def test_every_validation_sentence_is_in_our_own_words_and_was_read(ledgers: Ledgers) -> None:
    said = set(_said_of_rows())
    for service, http in (("signup", ledgers.signup), ("mail", ledgers.mail)):
        async for one, answer in _said(service, http):
            said.add(one)
            assert MARK not in _told(answer), (one, "repeats the input")
    for one in said:
        assert not FOREIGN.search(one.sentence), one
        for unit, kind in UNITS.items():
            assert not re.search(unit, one.sentence) or one.kind in {kind, None}, (one, kind)
    document = _as_document(said)
    if not KEPT.exists():
        KEPT.write_text(document)
        pytest.fail(f"{KEPT.name} was written: read it")
    assert document == KEPT.read_text(), f"delete {KEPT.name}, run this again, and read what is new"
