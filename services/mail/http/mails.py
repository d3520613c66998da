"""Accepts mails: `POST /v1/mails` and `/v1/mails/batch`."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems, storable_text
from shared.contract.fields import RequestId
from shared.contract.mails import IDEMPOTENCY_KEY_HEADER, REPLAYED_HEADER, MailRequest
from shared.contract.principals import Principal
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.error_handlers import as_problem_error
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute, checks_first, judges_each

from ..errors import RequestIdMismatch, RequestIdRequired, RequestIdReused, UnknownTemplate, VariablesRejected
from ..intake.accept import Accepted, accept
from .app_state import state_of
from .body_sizes import BATCH_BYTES, MAIL_BYTES, sizes_checked
from .schemas import Batch, BatchResults, Mail

router = APIRouter(prefix="/v1/mails", route_class=StrictRoute, tags=["Mails"])

MaySend = Annotated[Principal, Depends(Key("mails:send"))]

_REPLAYED = {REPLAYED_HEADER: {"schema": {"type": "string", "enum": ["true"]}, "description": "ID used before"}}


@router.post(
    "",
    status_code=202,
    response_model=Mail,
    responses=openapi.keyed(
        RequestIdRequired, RequestIdMismatch, RequestIdReused, UnknownTemplate, VariablesRejected,
        problems.UnsupportedMediaType,
    )
    | {202: {"description": "The mail, new or in its current state", "headers": _REPLAYED}},
)  # fmt: skip
@checks_first(sizes_checked(MAIL_BYTES, lambda body: [body]))
async def send_mail(
    body: MailRequest,
    request: Request,
    principal: MaySend,
    idempotency_key: Annotated[RequestId | None, Header(alias=IDEMPOTENCY_KEY_HEADER)] = None,
) -> Response:
    """Request one mail. The same request ID from the same client never sends a second mail."""
    if body.request_id is None and idempotency_key is None:
        raise RequestIdRequired
    if None not in (body.request_id, idempotency_key) and body.request_id != idempotency_key:
        raise RequestIdMismatch
    if body.request_id is None:
        body = body.model_copy(update={"request_id": idempotency_key})
    state = state_of(request)
    (accepted,) = await accept(state.intake, principal, [body])
    if accepted.problem is not None:
        raise accepted.problem
    if accepted.outcome == "accepted":
        state.pinger.ping()
    headers = {REPLAYED_HEADER: "true"} if accepted.outcome == "replayed" else {}
    return JsonResponse(accepted.mail, 202, headers)


@router.post("/batch", response_model=BatchResults, responses=openapi.keyed(problems.UnsupportedMediaType))
@judges_each("mails")
@checks_first(sizes_checked(BATCH_BYTES, lambda body: body.get("mails") if isinstance(body, dict) else None))
async def send_mails(body: Batch, request: Request, principal: MaySend) -> Response:
    """Request up to 500 mails. Each is judged alone; the results are in the order given."""
    # Cheaper than each item's texts: most batches hold no escape of a character that cannot be stored.
    suspect = storable_text.may_be_unstorable(await request.body())
    parsed = [_parse(item, suspect=suspect) for item in body.mails]
    state = state_of(request)
    valid = [item for item in parsed if isinstance(item, MailRequest)]
    accepted = await accept(state.intake, principal, valid) if valid else []
    if any(answer.outcome == "accepted" for answer in accepted):
        state.pinger.ping()
    answers = iter(accepted)
    results = [
        _result(raw, next(answers) if isinstance(item, MailRequest) else Accepted("rejected", problem=item))
        for raw, item in zip(body.mails, parsed, strict=True)
    ]
    return Response(b'{"results":' + orjson.dumps(results, default=str, option=orjson.OPT_UTC_Z) + b"}\n",
                    media_type="application/json")  # fmt: skip


def _parse(item: Any, *, suspect: bool) -> MailRequest | problems.Problem:
    if suspect and (errors := list(storable_text.problem_errors(item))):
        return problems.invalid(errors)
    try:
        mail = MailRequest.model_validate(item)
    except ValidationError as error:
        return problems.invalid(
            [as_problem_error({**entry, "loc": ("body", *entry["loc"])}, item) for entry in error.errors()]
        )
    return mail if mail.request_id is not None else RequestIdRequired()


def _result(raw: Any, accepted: Accepted) -> dict[str, Any]:
    request_id = raw.get("request_id") if isinstance(raw, dict) else None
    result: dict[str, Any] = {
        "request_id": request_id if isinstance(request_id, str) else None,
        "outcome": accepted.outcome,
    }
    if accepted.problem is not None:
        return {**result, "problem": accepted.problem.as_dict()}
    return {**result, "mail": accepted.mail}
