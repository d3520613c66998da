"""Accept mails: once per (client, request ID), for ever (P4). Accepted mails are rendered and pinned here.

A batch is one statement for new mails and one more for those seen before. A refused request writes nothing and leaves
its request ID unused.
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
from shared.contract.mails import MailRequest
from shared.contract.principals import Principal
from shared.contract.problems import InvalidRequest, Problem, at
from shared.db.pool import Database, Record
from shared.observability.spans import MESSAGE_ID, OFF, Kind, Span, Tracing, message_attributes

from ..errors import RequestIdReused
from ..ledger.mail_resource import as_resource
from . import attachments, queries
from .attachments import AttachedMail, Attachment
from .fingerprint import differing_fields, fingerprint
from .sender_domains import SenderDomains
from .template_engine import Templates

_REPLAYED = {"counterfoil.outcome": "replayed"}


@dataclass(frozen=True)
class Intake:
    """What accepting needs, built once per process."""

    database: Database
    templates: Templates
    sender: Recipient
    sender_domains: SenderDomains
    message_id_domain: str
    lifetime_seconds: int
    tracing: Tracing = OFF


@dataclass(frozen=True, slots=True)
class Accepted:
    """The answer to one request: a mail, or the problem that prevented it."""

    outcome: Literal["accepted", "replayed", "rejected"]
    mail: dict[str, Any] | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class _Prepared:
    request_id: str
    content: dict[str, Any]
    fingerprint: bytes | None  # None: the attachments cannot be read, so the request is compared with nothing
    # Why the request cannot become a new mail. A request ID seen before is answered all the same.
    problem: Problem | None
    row: dict[str, Any] | None
    attachments: tuple[Attachment, ...] = ()


async def accept(intake: Intake, principal: Principal, requests: Sequence[MailRequest]) -> list[Accepted]:
    """Answers in the order of `requests`, each of which has its request ID. Commits before it returns.

    Of several requests with one ID in the same call, the first is accepted and the others are compared with it.
    """
    prepared = [
        _prepare(intake, principal, request, await attachments.read(request.attachments) if request.attachments else ())
        for request in requests
    ]
    new: dict[str, _Prepared] = {}
    for item in prepared:
        if item.row is not None:
            new.setdefault(item.request_id, item)
    written = await _write(intake, principal, list(new.values()))
    first = {request_id: new[request_id] for request_id in written}
    seen_before = sorted({item.request_id for item in prepared} - written.keys())
    known = await _find(intake, principal, seen_before) if seen_before else {}
    lost = [item for item in new.values() if item.request_id not in written and item.request_id not in known]
    if lost:
        known |= await _write_back(intake, principal, lost)
    answers = []
    for item in prepared:
        if item.fingerprint is None:
            answers.append(Accepted("rejected", problem=item.problem))
        elif first.get(item.request_id) is item:
            answers.append(Accepted("accepted", written[item.request_id]))
        elif item.request_id in written:
            answers.append(_answer_again(item, written[item.request_id], first[item.request_id].content))
        elif row := known.get(item.request_id):
            content = orjson.loads(row["request"]) if row["request"] else None
            answers.append(_answer_again(item, as_resource(row), content))
        else:
            # Valid in itself, but its content differs from that of a mail whose row was deleted.
            answers.append(Accepted("rejected", problem=item.problem or RequestIdReused([""])))
    return answers


def _answer_again(item: _Prepared, mail: dict[str, Any], first_content: dict[str, Any] | None) -> Accepted:
    if item.fingerprint and mail["fingerprint"] == item.fingerprint.hex():
        return Accepted("replayed", mail)
    fields = differing_fields(first_content, item.content) if first_content is not None else [""]
    return Accepted("rejected", problem=RequestIdReused(fields))


async def _write(intake: Intake, principal: Principal, new: list[_Prepared]) -> dict[str, dict[str, Any]]:
    if not new:
        return {}
    spans = [_begin_span(intake.tracing, item.row) for item in new if item.row] if intake.tracing.on else []
    rows = orjson.dumps([item.row for item in new]).decode()
    arguments = (rows, intake.lifetime_seconds, principal.actor, intake.message_id_domain)
    try:
        written = await _run(intake, principal, new, queries.ACCEPT_NEW, *arguments)
    except asyncpg.SerializationError:
        # One of the rows was deleted while this waited for it (`refuse_lost_mails`). A second run sees that.
        written = await _run(intake, principal, new, queries.ACCEPT_NEW, *arguments)
    mails = {row["request_id"]: as_resource(row) for row in written}
    for request_id, span in spans:
        mail = mails.get(request_id)
        found = {"counterfoil.outcome": mail["state"], MESSAGE_ID: str(mail["id"])} if mail else _REPLAYED
        span.end(found)
    return mails


async def _run(
    intake: Intake, principal: Principal, items: list[_Prepared], statement: str, *arguments: Any
) -> list[Record]:
    """A statement about `items`, whose first argument is the client: alone, or in one commit with attachments."""
    pool, client = intake.database.pool, principal.client
    if not any(item.attachments for item in items):
        return await pool.fetch(statement, client, *arguments)
    attached = [AttachedMail(item.request_id, item.fingerprint or b"", item.attachments) for item in items]
    return await attachments.run_with_attachments(pool, client, attached, statement, client, *arguments)


def _begin_span(tracing: Tracing, row: dict[str, Any]) -> tuple[str, Span]:
    """A mail's own span: the child of its cause and the parent of its attempts. In a batch it links the call."""
    context = correlation.current()
    call = context.traceparent if context else None
    span = tracing.begin(
        "accept mail.queue",
        Kind.PRODUCER,
        parent=row["traceparent"],
        links=[call] if call != row["traceparent"] else [],
        attributes=message_attributes("accept", "send", "mail.queue"),
    )
    row["traceparent"] = span.traceparent
    return row["request_id"], span


async def _find(intake: Intake, principal: Principal, request_ids: list[str]) -> dict[str, Record]:
    rows = await intake.database.pool.fetch(queries.FIND_BY_REQUEST_ID, principal.client, request_ids)
    return {row["request_id"]: row for row in rows}


async def _write_back(intake: Intake, principal: Principal, lost: list[_Prepared]) -> dict[str, Record]:
    """Restore mails whose rows were deleted, in the state that they had, unsent; `sending` becomes uncertain."""
    rows = orjson.dumps([item.row for item in lost]).decode()
    await _run(intake, principal, lost, queries.WRITE_BACK_LOST, rows, principal.actor)
    return await _find(intake, principal, [item.request_id for item in lost])


def _prepare(
    intake: Intake, principal: Principal, request: MailRequest, files: tuple[Attachment, ...] | InvalidRequest
) -> _Prepared:
    assert request.request_id is not None
    content = request.content()
    if isinstance(files, Problem):
        return _Prepared(request.request_id, content, None, files, None)
    if files:
        content["attachments"] = [file.described() for file in files]
    digest = fingerprint(content)
    row, problem = None, None
    try:
        row = _new_row(intake, principal, request, content, digest)
        attachments.refuse_without_html(files, row["html"])
    except Problem as error:
        row, problem = None, error
    return _Prepared(request.request_id, content, digest, problem, row, files)


def _new_row(
    intake: Intake, principal: Principal, request: MailRequest, content: dict[str, Any], digest: bytes
) -> dict[str, Any]:
    if request.expires_at is not None and request.expires_at <= datetime.now(UTC):
        raise InvalidRequest("expires_at is in the past.", errors=[at("/expires_at", "Must be in the future")])
    intake.sender_domains.refuse_foreign(principal.client, request.from_)
    pinned = _pin(intake.templates, request)
    sender = request.from_ or intake.sender
    context = correlation.current()
    metadata = request.metadata or {}
    return {
        "request_id": request.request_id,
        "fingerprint": digest.hex(),
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
        "send_at": request.send_at,
        "expires_at": request.expires_at,
        "correlation_id": request.correlation_id or (context and context.request_id),
        "traceparent": request.traceparent or (context and context.traceparent),
        # History can be searched by each metadata value whose key ends in `_id`.
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
    """The content of the mail, and its policy."""

    subject: str
    text: str
    html: str | None
    locale: str | None
    version: str | None
    on_uncertain: OnUncertain


def _pin(templates: Templates, request: MailRequest) -> _Pinned:
    if request.template is not None:
        rendered = templates.render(request.template, request.locale, request.variables or {})
        on_uncertain = request.on_uncertain or templates.on_uncertain(request.template)
        return _Pinned(rendered.subject, rendered.text, rendered.html, rendered.locale, rendered.version, on_uncertain)
    assert request.subject is not None
    assert request.text is not None
    # Only the client knows whether a second copy does harm: hold unless it says otherwise.
    return _Pinned(request.subject, request.text, request.html, None, None, request.on_uncertain or "hold")
