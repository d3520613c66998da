"""JSON as every API, event and profile of both services is written."""

from typing import Any

import orjson


def dumps(content: Any) -> bytes:
    """JSON that ends in a newline. Times are written with `Z`."""
    return orjson.dumps(
        content, default=str, option=orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC | orjson.OPT_APPEND_NEWLINE
    )
