"""JSON responses and problems, the same in both services."""

from collections.abc import Mapping
from typing import Any

import orjson
from starlette.responses import Response

from ..contract.json_text import dumps
from ..contract.problems import MEDIA_TYPE, Problem


class JsonResponse(Response):
    """JSON that ends in a newline, so that curl output reads well. Times are written with `Z`."""

    media_type = "application/json"

    def __init__(self, content: Any, status_code: int = 200, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(dumps(content), status_code, headers)


def problem_response(problem: Problem) -> Response:
    """The problem as RFC 9457 writes it."""
    return Response(orjson.dumps(problem.as_dict()) + b"\n", problem.status, problem.headers, MEDIA_TYPE)
