"""/v1/users: list, read and erase users."""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import AfterValidator
from starlette.requests import Request
from starlette.responses import Response

from shared.contract.addresses import address_key
from shared.contract.ids import UUID
from shared.contract.principals import Principal
from shared.contract.problems import NotFound
from shared.db.pool import load_engine
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.pagination import Cursor, FilterTexts, Limit, Timestamp, after_id, clamp, page
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..accounts import queries
from ..accounts.sign_up import as_user
from ..erasure.erase import erase
from ..errors import UserErased
from .app_state import state_of
from .schemas import User, UserPage

router = APIRouter(route_class=StrictRoute, tags=["Users"])

_may_read = [Depends(Key("users:read"))]

Status = Literal["pending", "verified", "erased"]
EmailKey = Annotated[str, AfterValidator(address_key)]


@router.get("/v1/users", dependencies=_may_read, response_model=UserPage, responses=openapi.keyed())
async def list_users(
    request: Request,
    email: Annotated[list[EmailKey], Query(max_length=100, description="Matches every spelling of the address")] = [],  # noqa: B006 - FastAPI copies defaults
    status: Annotated[list[Status], Query(max_length=3, description="Default: all except erased users")] = [],  # noqa: B006
    source: FilterTexts = (),
    created_after: Timestamp | None = None,
    created_before: Timestamp | None = None,
    unreachable: Annotated[
        bool | None,
        Query(
            description="`true`: pending users whose latest verification mail was suppressed, failed, bounced or "
            "expired (among the newest 10,000 such mails); `false`: all others"
        ),
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """Users, newest first."""
    await load_engine()
    from . import user_list  # noqa: PLC0415 - SQLAlchemy takes 20 MB: only when a list is read

    shown = clamp(limit)
    rows = await user_list.list_users(
        state_of(request).database,
        email_keys=email,
        statuses=status,
        sources=source,
        created_after=created_after,
        created_before=created_before,
        unreachable=unreachable,
        below=after_id(cursor),
        limit=shown,
    )
    return JsonResponse(page([as_user(row) for row in rows], shown))


@router.get(
    "/v1/users/{user_id}", dependencies=_may_read, response_model=User, responses=openapi.keyed(NotFound, UserErased)
)
async def get_user(request: Request, user_id: UUID) -> Response:
    """One user."""
    row = await state_of(request).database.pool.fetchrow(queries.FIND_USER, user_id)
    if row is None:
        raise NotFound("There is no user with this ID.")
    if row["status"] == "erased":
        raise UserErased("This user has been erased.")
    return JsonResponse(as_user(row))


@router.delete("/v1/users/{user_id}", status_code=204, responses=openapi.keyed(NotFound))
async def delete_user(
    request: Request, user_id: UUID, eraser: Annotated[Principal, Depends(Key("users:erase"))]
) -> Response:
    """Erase a user: personal data here is gone when this answers, the mail service's copy follows. Idempotent."""
    state = state_of(request)
    if not await erase(state.database.pool, user_id, eraser.actor, state.policy):
        raise NotFound("There is no user with this ID.")
    state.pinger.ping()
    return Response(status_code=204)
