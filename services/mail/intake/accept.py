"""Accepting mails: once per (client, request ID), for ever (P4). What is accepted is rendered and pinned here.

A batch is one statement for what is new and one more for what was seen before. Nothing is written for a request that
is refused, and a refused request leaves its request ID unused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import asyncpg
import orjson

from shared.contract import correlation
from shared.contract.addresses import key_of
from shared.contract.fields import OnUncertain, Recipient
from shared.contract.ids import uuid7
from shared.contract.mails import MailRequest
from shared.contract.problems import InvalidRequest, Problem, at
from shared.db.pool import Database, Record
from shared.http.authentication import Principal
from shared.observability.spans import OFF, Kind, Span, Tracing, message_attributes

from ..errors import RequestIdReused
from ..ledger.mail_resource import as_resource
from . import queries
from .fingerprint import differing_fields, fingerprint
from .template_engine import Templates


@dataclass(frozen=True)
class Intake:
    """What accepting needs, built once per process."""

    database: Database
    templates: Templates
    sender: Recipient
    message_id_domain: str
    lifetime_seconds: int
    tracing: Tracing = OFF


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer for one request: a mail, or the problem why there is none."""

    outcome: Literal["accepted", "replayed", "rejected"]
    mail: dict[str, Any] | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    request_id: str
    content: dict[str, Any]
    fingerprint: bytes
    # Set when the request could not become a new mail; a request ID seen before is answered all the same.
    problem: Problem | None
    row: dict[str, Any] | None


async def accept(intake: Intake, principal: Principal, requests: Sequence[MailRequest]) -> list[Accepted]:
    """Answers in the order of `requests`, each of which has its request ID. Committed when this returns.

    Of several requests with one ID in the same call, the first is taken and the others are compared with it.
    """
    asked = [_prepare(intake, principal, request) for request in requests]
    fresh: dict[str, _Asked] = {}
    for one in asked:
        if one.row is not None:
            fresh.setdefault(one.request_id, one)
    written = await _write(intake, principal, list(fresh.values()))
    first = {request_id: fresh[request_id] for request_id in written}
    seen_before = sorted({one.request_id for one in asked} - written.keys())
    known = await _find(intake, principal, seen_before) if seen_before else {}
    lost = [one for one in fresh.values() if one.request_id not in written and one.request_id not in known]
    if lost:
        known |= await _write_back(intake, principal, lost)
    answers = []
    for one in asked:
        if first.get(one.request_id) is one:
            answers.append(Accepted("accepted", written[one.request_id]))
        elif one.request_id in written:
            answers.append(_answer_again(one, written[one.request_id], first[one.request_id].content))
        elif row := known.get(one.request_id):
            content = orjson.loads(row["request"]) if row["request"] else None
            answers.append(_answer_again(one, as_resource(row), content))
        else:
            # Without a problem of its own it asks for something else than a mail whose record was deleted.
            answers.append(Accepted("rejected", problem=one.problem or RequestIdReused([""])))
    return answers


def _answer_again(one: _Asked, mail: dict[str, Any], first_content: dict[str, Any] | None) -> Accepted:
    if mail["fingerprint"] == one.fingerprint.hex():
        return Accepted("replayed", mail)
    fields = differing_fields(first_content, one.content) if first_content is not None else [""]
    return Accepted("rejected", problem=RequestIdReused(fields))


async def _write(intake: Intake, principal: Principal, fresh: list[_Asked]) -> dict[str, dict[str, Any]]:
    if not fresh:
        return {}
    spans = [_begin_span(intake.tracing, one.row) for one in fresh if one.row] if intake.tracing.on else []
    rows = orjson.dumps([one.row for one in fresh]).decode()
    statement = (queries.ACCEPT_NEW, principal.client, rows, intake.lifetime_seconds, principal.actor)
    try:
        written = await intake.database.pool.fetch(*statement)
    except asyncpg.SerializationError:
        # The row of one of them was deleted while this waited for it (revision 0008): by now that can be seen.
        written = await intake.database.pool.fetch(*statement)
    mails = {row["request_id"]: as_resource(row) for row in written}
    for request_id, span in spans:
        span.end({"counterfoil.outcome": mails[request_id]["state"] if request_id in mails else "replayed"})
    return mails


def _begin_span(tracing: Tracing, row: dict[str, Any]) -> tuple[str, Span]:
    """A mail's own span: below whoever asked for it, and what its attempts hang below. Of a batch, with the call."""
    here = correlation.current()
    call = here.traceparent if here else None
    span = tracing.begin(
        "accept mail.queue",
        Kind.PRODUCER,
        parent=row["traceparent"],
        links=[call] if call != row["traceparent"] else [],
        attributes=message_attributes("accept", "send", "mail.queue", row["id"]),
    )
    row["traceparent"] = span.traceparent
    return row["request_id"], span


async def _find(intake: Intake, principal: Principal, request_ids: list[str]) -> dict[str, Record]:
    rows = await intake.database.pool.fetch(queries.FIND_BY_REQUEST_ID, principal.client, request_ids)
    return {row["request_id"]: row for row in rows}


async def _write_back(intake: Intake, principal: Principal, lost: list[_Asked]) -> dict[str, Record]:
    """Neither new nor in the ledger: their rows were deleted. They come back as what they were, and are not sent; one
    that was being sent, as uncertain.
    """
    rows = orjson.dumps([one.row for one in lost]).decode()
    await intake.database.pool.execute(queries.WRITE_BACK_LOST, principal.client, rows, principal.actor)
    return await _find(intake, principal, [one.request_id for one in lost])


def _prepare(intake: Intake, principal: Principal, request: MailRequest) -> _Asked:
    assert request.request_id is not None
    content = request.content()
    row, problem = None, None
    try:
        row = _new_row(intake, principal, request, content)
    except Problem as refused:
        problem = refused
    return _Asked(request.request_id, content, fingerprint(content), problem, row)


def _new_row(intake: Intake, principal: Principal, request: MailRequest, content: dict[str, Any]) -> dict[str, Any]:
    if request.expires_at is not None and request.expires_at <= datetime.now(UTC):
        raise InvalidRequest("The mail would have expired already.", errors=[at("/expires_at", "Must lie ahead")])
    pinned = _pin(intake.templates, request)
    sender = request.from_ or intake.sender
    here = correlation.current()
    mail_id = uuid7()
    metadata = request.metadata or {}
    return {
        "id": mail_id,
        "request_id": request.request_id,
        "fingerprint": fingerprint(content).hex(),
        "to_email": request.to.email,
        "to_key": key_of(request.to.email),
        "to_name": request.to.name,
        "template": request.template,
        "template_version": pinned.version,
        "locale": pinned.locale,
        "tags": request.tags or [],
        "metadata": metadata,
        "on_uncertain": pinned.on_uncertain,
        "lane": request.lane or "live",
        "message_id": f"<{mail_id}@{intake.message_id_domain}>",
        "send_at": request.send_at,
        "expires_at": request.expires_at,
        "correlation_id": request.correlation_id or (here and here.request_id),
        "traceparent": request.traceparent or (here and here.traceparent),
        # Whatever the client calls an ID is what history can be asked by.
        "related": [
            request.request_id,
            principal.client,
            *(value for key, value in metadata.items() if key.endswith("_id") and isinstance(value, str)),
        ],
        "request": content,
        "sender_email": sender.email,
        "sender_name": sender.name,
        "reply_to_email": request.reply_to and request.reply_to.email,
        "reply_to_name": request.reply_to and request.reply_to.name,
        "subject": pinned.subject,
        "text": pinned.text,
        "html": pinned.html,
        "headers": request.headers or {},
    }


@dataclass(frozen=True, slots=True)
class _Pinned:
    """What goes out, and the policy that goes with it."""

    subject: str
    text: str
    html: str | None
    locale: str | None
    version: str | None
    on_uncertain: OnUncertain


def _pin(templates: Templates, request: MailRequest) -> _Pinned:
    if request.template is not None:
        made = templates.render(request.template, request.locale, request.variables or {})
        on_uncertain = request.on_uncertain or templates.on_uncertain(request.template)
        return _Pinned(made.subject, made.text, made.html, made.locale, made.version, on_uncertain)
    assert request.subject is not None
    assert request.text is not None
    # Only whoever wrote the text knows whether a second copy does harm: hold unless they say.
    return _Pinned(request.subject, request.text, request.html, None, None, request.on_uncertain or "hold")
