"""GET /v1/stats/signups: how many people signed up and were verified, day by day."""

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

router = APIRouter(route_class=StrictRoute, tags=["statistics"], dependencies=[Depends(Key("stats:read"))])

_MOST_DAYS = 366
_DAYS = 30
_DATE = re.compile(r"\d{4}-\d\d-\d\d")


def _is_date(text: object) -> object:
    # pydantic alone would also take a number for seconds since 1970.
    if isinstance(text, str) and not _DATE.fullmatch(text):
        raise ValueError("Must be a day like 2026-01-31")
    return text


Day = Annotated[dt.date, BeforeValidator(_is_date)]


class DayOfSignups(BaseModel):
    day: dt.date
    signups: int
    verifications: int


class StatisticsPage(BaseModel):
    items: list[DayOfSignups]
    next_cursor: None


@router.get("/v1/stats/signups", response_model=StatisticsPage, responses=openapi.keyed())
async def get_signup_statistics(
    request: Request,
    from_: Annotated[Day | None, Query(alias="from", description="First day, in UTC; 30 days unless said")] = None,
    to: Annotated[Day | None, Query(description="Last day, in UTC; today unless said")] = None,
) -> Response:
    """Signups and verifications of each day, both ends included, oldest first; at most 366 days.

    By the time of the event. What happened a moment ago may not have been counted yet.
    """
    pool = state_of(request).database.pool
    last = to or await pool.fetchval(TODAY)
    first = from_ or last - min(dt.timedelta(days=_DAYS - 1), last - dt.date.min)
    if not 0 <= (last - first).days < _MOST_DAYS:
        raise InvalidRequest(
            f"`to` must not be before `from`, and at most {_MOST_DAYS} days can be asked for.",
            errors=[{"parameter": "to", "detail": f"Must be within {_MOST_DAYS} days from `from`"}],
        )
    rows = await pool.fetch(READ_STATISTICS, str(first), str(last))
    return JsonResponse({"items": [dict(row) for row in rows], "next_cursor": None})
