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
    """What waits in a stage now."""

    name: str
    """The stage: an effect of signup's outbox, or a lane of the mail queue and `uncertain`."""
    waiting: int = Field(description="Counted up to 10,000, as `in_flight` and `dead`")
    in_flight: int
    """Rows that a worker has claimed."""
    oldest_seconds: float | None = Field(description="How long the oldest has been due")
    dead: int | None = Field(description="Given up, waiting for an operator")
    breaker: str | None
    """State of the circuit breaker; null: the stage has none."""
    last_fault: str | None
    """The last fault of the stage's peer; null: none on record."""


class Rates(BaseModel):
    """How much happened, part by part."""

    part_seconds: int
    """The length of a part, in seconds."""
    parts: int
    """How many parts there are."""
    kinds: dict[str, list[float]] = Field(
        description="Entries of history a minute, by kind: a number for each part, the oldest first"
    )
    estimated: bool = Field(description="Of busy parts only short spans were read")


class Flow(BaseModel):
    """What waits in the stages, and how much goes through them."""

    at: datetime
    """When this was read."""
    worker_seconds: float | None = Field(description="Since the worker's last heartbeat; null: never")
    stages: list[StageNow]
    """Each stage, in the order of the data's way."""
    states: dict[str, int] = Field(description="Mails in each rare state, counted up to 10,000; empty for signup")
    hour: Rates = Field(description="The last hour; at most 10 s old")
    day: Rates = Field(description="The last day; at most a minute old")


def flow_router(reader: FlowReader) -> APIRouter:
    """The route uses `app.state.database`."""
    router = APIRouter(prefix="/audit", route_class=StrictRoute, tags=["Audit"])

    @router.get("/flow", response_model=Flow, responses=openapi.keyed(), dependencies=[Depends(Key("audit:read"))])
    async def get_flow(request: Request) -> Response:
        """What waits in each stage now, and what the history of the last hour and day adds up to."""
        return JsonResponse(asdict(await reader.read(database_of(request).pool)))

    return router
