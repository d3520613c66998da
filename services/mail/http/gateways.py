"""The gateways, as of the mail worker's last heartbeat."""

from datetime import datetime
from typing import Annotated

import orjson
from fastapi import APIRouter, Depends
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from shared.contract.principals import Principal
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..audit import queries
from .app_state import state_of

router = APIRouter(route_class=StrictRoute, tags=["Gateways"])


class Gateway(BaseModel):
    """A gateway as the worker last saw it. It may have more members."""

    model_config = ConfigDict(extra="allow")

    name: str
    """Its name in MAIL_GATEWAYS."""
    breaker: str
    """State of the circuit breaker: `closed` sends, `open` waits, `half_open` probes."""
    last_fault: str | None
    """The last fault of the gateway itself; null: none since the worker started."""
    faults_in_a_row: int = Field(0, description="0 when the last mail had a verdict")
    connections: int = Field(0, description="As MAIL_GATEWAYS says")
    connections_allowed: int = Field(0, description="Used at most now; fewer when the gateway turned some away")
    connections_open: int = 0
    """Connections that are open now."""
    in_flight: int
    """Mails that are being handed over now."""
    deduplicates: bool = Field(False, description="Asked again after an unknown outcome (`idempotency_header`)")


class GatewayList(BaseModel):
    """Every gateway, as of the worker's last heartbeat."""

    items: list[Gateway]
    """Each gateway, in order of preference."""
    next_cursor: None
    """Always null: the answer is never split."""
    seen_at: datetime | None
    """The worker's last heartbeat; null: there was none."""
    age_seconds: int | None = Field(description="Since the heartbeat. Workers send one every 5 s")


@router.get("/v1/gateways", response_model=GatewayList, responses=openapi.keyed())
async def list_gateways(request: Request, _principal: Annotated[Principal, Depends(Key("mails:read"))]) -> Response:
    """Each gateway's breaker, last fault, mails in flight and recent results, as of the worker's last heartbeat."""
    state = state_of(request)
    row = await state.database.pool.fetchrow(queries.HEARTBEAT)
    gateways = orjson.loads(row["detail"]).get("gateways", []) if row else []
    seen = {"seen_at": row["at"], "age_seconds": row["age_seconds"]} if row else {"seen_at": None, "age_seconds": None}
    return JsonResponse({"items": gateways, "next_cursor": None, **seen})
