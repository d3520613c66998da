"""`GET /audit/flow` of both services: what waits in the stages, and how much goes through them."""

from dataclasses import asdict
from datetime import datetime

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from ..audit.flow import FlowReader
from . import openapi
from .authentication import Key
from .readiness import database_of
from .responses import JsonResponse
from .routing import StrictRoute


class StageNow(BaseModel):
    name: str
    waiting: int = Field(description="Counted up to 10,000, as `in_flight` and `dead`")
    in_flight: int
    oldest_seconds: float | None = Field(description="How long the oldest has been due")
    dead: int | None = Field(description="Given up, waiting for an operator")
    breaker: str | None
    last_fault: str | None


class Rates(BaseModel):
    part_seconds: int
    parts: int
    kinds: dict[str, list[float]] = Field(
        description="Entries of history a minute, by kind: a number for each part, the oldest first"
    )
    estimated: bool = Field(description="Of busy parts only short spans were read")


class Flow(BaseModel):
    at: datetime
    worker_seconds: float | None = Field(description="Since the worker's last heartbeat; null: never")
    stages: list[StageNow]
    states: dict[str, int] = Field(description="Mails in each rare state, counted up to 10,000; empty for signup")
    hour: Rates = Field(description="The last hour; at most 10 s old")
    day: Rates = Field(description="The last day; at most a minute old")


def flow_router(reader: FlowReader) -> APIRouter:
    """The route uses `app.state.database`."""
    router = APIRouter(prefix="/audit", route_class=StrictRoute, tags=["operators"])

    @router.get("/flow", response_model=Flow, responses=openapi.keyed(), dependencies=[Depends(Key("audit:read"))])
    async def get_flow(request: Request) -> Response:
        """What waits in each stage now, and what the history of the last hour and day adds up to."""
        return JsonResponse(asdict(await reader.read(database_of(request).pool)))

    return router
