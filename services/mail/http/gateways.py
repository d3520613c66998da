"""The gateways, as of the mail worker's last heartbeat."""

from datetime import datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import Response

from shared.http import openapi
from shared.http.authentication import Key, Principal
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..audit import queries
from .app_state import state_of

router = APIRouter(route_class=StrictRoute, tags=["operators"])


class Gateway(BaseModel):
    model_config = ConfigDict(extra="allow")

    name: str
    breaker: str
    last_fault: str | None
    in_flight: int


class GatewayList(BaseModel):
    items: list[Gateway]
    next_cursor: None
    seen_at: datetime | None


@router.get("/v1/gateways", response_model=GatewayList, responses=openapi.keyed())
async def list_gateways(request: Request, _principal: Annotated[Principal, Depends(Key("mails:read"))]) -> Response:
    """Each gateway's breaker, last fault, mails in flight and recent results, as of the worker's last heartbeat."""
    state = state_of(request)
    row = await state.database.pool.fetchrow(queries.HEARTBEAT)
    gateways = orjson.loads(row["detail"]).get("gateways", []) if row else []
    return JsonResponse({"items": gateways, "next_cursor": None, "seen_at": row["at"] if row else None})
