"""GET /v1/stats/signups: the number of signups and verifications of each day."""

import datetime as dt
import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, BeforeValidator
from starlette.requests import Request
from starlette.responses import Response

from shared.contract.problems import InvalidRequest
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..outbox.effects.queries import READ_STATISTICS, TODAY
from .app_state import state_of

router = APIRouter(route_class=StrictRoute, tags=["Statistics"], dependencies=[Depends(Key("stats:read"))])

_MAX_DAYS = 366
_DEFAULT_DAYS = 30
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _is_date(text: object) -> object:
    # pydantic alone would also accept a number, as seconds since 1970.
    if isinstance(text, str) and not _DATE.fullmatch(text):
        raise ValueError("Must be a date like 2026-01-31")
    return text


Day = Annotated[dt.date, BeforeValidator(_is_date)]


class DayOfSignups(BaseModel):
    """The numbers of one day."""

    day: dt.date
    """The day, in UTC."""
    signups: int
    """People who signed up on that day."""
    verifications: int
    """Addresses that were verified on that day."""


class StatisticsPage(BaseModel):
    """The numbers of each day asked for."""

    items: list[DayOfSignups]
    """One entry for each day, oldest first."""
    next_cursor: None
    """Always null: the answer is never split."""


@router.get("/v1/stats/signups", response_model=StatisticsPage, responses=openapi.keyed())
async def get_signup_statistics(
    request: Request,
    from_: Annotated[Day | None, Query(alias="from", description="First day, UTC. Default: 30 days up to `to`")] = None,
    to: Annotated[Day | None, Query(description="Last day, UTC. Default: today")] = None,
) -> Response:
    """Signups and verifications of each day, both ends included, oldest first; at most 366 days.

    An event counts on the day it happened. The latest events may not be counted yet.
    """
    pool = state_of(request).database.pool
    last = to or await pool.fetchval(TODAY)
    first = from_ or last - min(dt.timedelta(days=_DEFAULT_DAYS - 1), last - dt.date.min)
    if not 0 <= (last - first).days < _MAX_DAYS:
        raise InvalidRequest(
            f"`to` must not be before `from`, and a range has at most {_MAX_DAYS} days.",
            errors=[{"parameter": "to", "detail": f"Must be `from` or later, and less than {_MAX_DAYS} days after it"}],
        )
    rows = await pool.fetch(READ_STATISTICS, str(first), str(last))
    return JsonResponse({"items": [dict(row) for row in rows], "next_cursor": None})
