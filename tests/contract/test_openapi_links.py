"""The links of both OpenAPI documents lead where they say: from a real answer to a documented one.

Calls begin as the document shows them, with its examples. What else they answer is test_openapi.py's.
"""

import asyncio
import functools
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from schemathesis.generation.stateful.state_machine import APIStateMachine, StepInput, StepOutput
from schemathesis.specs.openapi import checks

from tests.support import schemathesis_bodies  # noqa: F401 - how to write bodies that are no JSON
from tests.support.notices import quoted_header, report
from tests.support.stack import Ledgers, Stack

CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
CONFIG = {
    "generation": {"mode": "positive"},
    "phases": {"stateful": {"inference": {"algorithms": []}}},  # only the links that the document has
}
PATIENCE_SECONDS = 120.0
# What a call along a wrong link is answered.
NOWHERE = {400, 404, 422}
GONE = 404
# Links whose first answer the examples alone do not bring about.
OUT_OF_REACH = {
    "signup": {"list_findings 200 -> get_reconciliation"},  # nothing is out of balance here
    "mail": {  # no provider is configured here
        f"receive_events 200 -> {name}"
        for name in ("get_mail", "get_mail_attempts", "get_mail_history", "list_bounces")
    },
}


def _schema(stack: Stack, service: str) -> Any:
    url = stack.signup_url if service == "signup" else stack.mail_url
    return schemathesis.openapi.from_url(f"{url}/openapi.json", config=SchemathesisConfig.from_dict(CONFIG))


def _examples(described: dict[str, Any]) -> list[Any]:
    named = [example["value"] for example in described.get("examples", {}).values()]
    return named or ([described["example"]] if "example" in described else [])


@dataclass(frozen=True, eq=False)
class Link:
    source: str
    status: str
    name: str
    target: str
    parameters: dict[str, str]
    body: Any
    deletes: bool

    def __str__(self) -> str:
        return f"{self.source} {self.status} -> {self.name}"


@dataclass(frozen=True)
class Answered:
    """A call that was made, with what it was asked and answered."""

    path: dict[str, Any]
    body: Any
    status: int
    answer: Any

    def resolve(self, expression: Any) -> Any:
        """A runtime expression of OpenAPI, or a value in the place of one. None: nothing stands there."""
        if not str(expression).startswith("$"):
            return expression
        if expression.startswith("$request.path."):
            return self.path[expression.removeprefix("$request.path.")]
        where, _, steps = expression.partition("#/")
        value = {"$response.body": self.answer, "$request.body": self.body}[where]
        for step in steps.split("/"):
            try:
                value = value[int(step) if isinstance(value, list) else step]
            except (KeyError, IndexError, TypeError):
                return None
        return value


@dataclass
class Follower:
    """Follows each link once. `answers` has what each operation was asked and answered, by its name and status."""

    schema: Any
    headers: dict[str, str]
    answers: dict[tuple[str, str], list[Answered]] = field(default_factory=dict)

    def operations(self) -> Iterator[tuple[str, str, dict[str, Any]]]:
        for path, methods in self.schema.raw_schema["paths"].items():
            for method, operation in methods.items():
                yield path, method.upper(), operation

    def links(self) -> list[Link]:
        """Those that read come first."""
        methods = {operation["operationId"]: method for _, method, operation in self.operations()}
        found = [
            Link(
                operation["operationId"], status, name, link["operationId"], link.get("parameters", {}),
                link.get("requestBody"), deletes=methods[link["operationId"]] == "DELETE",
            )
            for _, _, operation in self.operations()
            for status, answer in operation["responses"].items()
            for name, link in answer.get("links", {}).items()
        ]  # fmt: skip
        return sorted(found, key=lambda link: methods[link.target] != "GET")

    def begin(self) -> None:
        """Make each call that needs no ID, with each of its examples."""
        for path, _, operation in sorted(self.operations(), key=lambda of: of[1] == "GET"):
            if "{" not in path and any("links" in answer for answer in operation["responses"].values()):
                content = operation.get("requestBody", {}).get("content", {None: {}})
                for media, described in content.items():
                    for body in _examples(described) or [None]:
                        self.call(operation["operationId"], {}, media, body)

    def call(
        self, name: str, parameters: dict[str, Any], media: str | None = None, body: Any = None, *, key: bool = True
    ) -> Answered:
        """Without a body: with its first example. Raises when the answer is not as documented."""
        operation = self.schema.find_operation_by_id(name)
        raw = operation.definition.raw
        if body is None and "requestBody" in raw:
            media, described = next(iter(raw["requestBody"]["content"].items()))
            body = next(iter(_examples(described)), None)
        places: dict[str, dict[str, Any]] = {"path": {}, "query": {}}
        for parameter in operation.iter_parameters():
            if parameter.name in parameters:
                places[parameter.location.value][parameter.name] = parameters[parameter.name]
        given = {} if body is None else {"body": body, "media_type": media}
        case = operation.Case(path_parameters=places["path"], query=places["query"], **given)
        response = case.call_and_validate(headers=self.headers if key else {}, checks=CHECKS)
        answer = response.json() if response.content and "json" in response.headers["content-type"][0] else None
        answered = Answered(places["path"], body, response.status_code, answer)
        self.answers.setdefault((name, str(response.status_code)), []).append(answered)
        return answered

    def call_until(self, name: str, parameters: dict[str, Any], condition: Callable[[Any], Any]) -> Answered:
        """Again and again, until its answer is as wanted."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition((answered := self.call(name, parameters)).answer):
            assert time.monotonic() < deadline, (name, parameters, answered)
            time.sleep(0.05)
        return answered

    def follow(self, link: Link) -> int:
        """From how many answers the link led somewhere."""
        followed = 0
        for answered in self.answers.get((link.source, link.status), [])[-3:]:
            parameters = {name: answered.resolve(value) for name, value in link.parameters.items()}
            body = {name: answered.resolve(value) for name, value in (link.body or {}).items()} or None
            if None not in (*parameters.values(), *(body or {}).values()):
                led = self.call(link.target, parameters, "application/json" if body else None, body)
                # Several links delete the same: after the first there is nothing left to delete.
                followed += led.status not in NOWHERE or (link.deletes and led.status == GONE)
        return followed


def _prepare_signup(follower: Follower) -> None:
    """A signup without a key, and an import whose mails wait."""
    anonymous = {"email": "links@example.org", "name": "Bo"}
    follower.call("sign_up", {}, "application/json", anonymous, key=False)
    rows = [{"external_id": name, "email": f"{name}@links.example", "name": "Bo"} for name in "abcdefgh"]
    body = "\n".join(map(json.dumps, rows))
    started = follower.call("start_import", {"mails_per_minute": 1}, "application/x-ndjson", body)
    follower.call_until("list_import_rows", {"import_id": started.answer["id"]}, lambda page: page["items"])
    follower.call("list_imports", {})
    soon = datetime.now(UTC) + timedelta(seconds=60)
    waiting = follower.call_until("list_outbox", {"state": "pending"}, lambda page: len(_due_after(soon, page)) > 1)
    for name, row in zip(("retry_outbox_row", "cancel_outbox_row"), _due_after(soon, waiting.answer), strict=False):
        follower.call(name, {"row_id": row["id"]})


def _due_after(soon: datetime, page: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that no worker takes while the test looks, the last one first."""
    later = [row for row in page["items"] if row["due_at"] and datetime.fromisoformat(row["due_at"]) > soon]
    return sorted(later, key=lambda row: str(row["due_at"]), reverse=True)


def _is(state: str, mail: dict[str, Any]) -> bool:
    return bool(mail["state"] == state)


def _prepare_mail(follower: Follower) -> None:
    """Mails that wait, failed, bounced and are uncertain, a suppression, and lists with them."""

    def send(name: str, **more: str) -> Any:
        letter = {"request_id": name, "to": {"email": f"{name}@simulator.example"}, "subject": "Links", "text": "Links"}
        return follower.call("send_mail", {}, "application/json", letter | more).answer

    for name, state in (("refused+5.7.1+links", "failed"), ("uncertain+links", "uncertain"), ("links", "sent")):
        mail = send(name)
        follower.call_until("get_mail", {"mail_id": mail["id"]}, functools.partial(_is, state))
        if state == "failed":
            follower.call("retry_mail", {"mail_id": mail["id"]})
    notice = report(quoted_header(mail["id"], mail["message_id"])).decode()
    follower.call("ingest_bounce", {}, "message/rfc822", notice)
    for _ in ("created", "replaced"):
        follower.call("put_suppression", {"email": "suppressed@simulator.example"})
    follower.call("delete_suppression", {"email": "suppressed@simulator.example"})
    lost = {"request_id": "lost", "fingerprint": "0" * 64, "to": {"email": "lost@simulator.example"}}
    lost |= {"sent_at": mail["accepted_at"], "message_id": "<lost@mail.example.com>"}
    follower.call("restore_mails", {}, "application/json", {"mails": [lost]})
    later = send("links-later", send_at="2099-01-01T00:00:00Z", expires_at="2099-01-02T00:00:00Z")
    for name in ("list_bounces", "list_suppressions"):
        follower.call(name, {})
    follower.call("get_mail", {"mail_id": later["id"]})


PREPARE = {"signup": _prepare_signup, "mail": _prepare_mail}


def _follow_all(follower: Follower, links: list[Link]) -> list[str]:
    """The links that led nowhere. Those that delete come last."""
    nowhere: list[Link] = []
    for deletes in (False, True):
        left = [link for link in links if link.deletes == deletes]
        while followed := [link for link in left if follower.follow(link)]:
            left = [link for link in left if link not in followed]
        nowhere += left
    return sorted(map(str, nowhere))


@pytest.mark.parametrize("service", ["signup", "mail"])
async def test_every_link_can_be_followed(ledgers: Ledgers, service: str) -> None:
    def follow() -> list[str]:
        follower = Follower(_schema(ledgers.stack, service), {"Authorization": f"Bearer {ledgers.stack.operator_key}"})
        follower.begin()
        PREPARE[service](follower)
        links = follower.links()
        assert len(links) > 80
        return _follow_all(follower, links)

    left = await asyncio.to_thread(follow)
    assert left == sorted(OUT_OF_REACH[service])


def _sequences(schema: Any, headers: dict[str, str]) -> type[APIStateMachine]:
    """Sequences of calls that begin anywhere and follow links. Bodies are the document's, lists have no filters."""
    document = schema.raw_schema

    class Sequences(schema.as_state_machine()):  # type: ignore[misc] # made from the document
        def step(self, input: StepInput) -> StepOutput:  # noqa: A002 - schemathesis calls it so
            case, given = input.case, {name for _, name in input.applied_parameters}
            case.query = {name: value for name, value in (case.query or {}).items() if name in given}
            described = document["paths"][case.operation.path][case.operation.method].get("requestBody", {})
            examples = _examples(described.get("content", {}).get(case.media_type, {}))
            if examples and not any(location.value == "body" for location, _ in input.applied_parameters):
                case.body = examples[0]
            output: StepOutput = super().step(input)
            return output

        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            del case
            return {"headers": headers}

        def validate_response(self, response: Response, case: Case[Any], **kwargs: Any) -> None:
            case.validate_response(response, checks=CHECKS, transport_kwargs=kwargs)

    return Sequences


@pytest.mark.parametrize("service", ["signup", "mail"])
async def test_every_answer_in_sequences_along_the_links_is_documented(ledgers: Ledgers, service: str) -> None:
    headers = {"Authorization": f"Bearer {ledgers.stack.operator_key}"}
    # The same sequences each time: what they found first would be found again.
    few = settings(
        max_examples=10, stateful_step_count=15, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip

    def run() -> None:
        schema = _schema(ledgers.stack, service)
        Follower(schema, headers).begin()  # lists have something in them
        run_state_machine_as_test(_sequences(schema, headers), settings=few)

    await asyncio.to_thread(run)
