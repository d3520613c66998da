"""Metadata: the JSON object that a client stores with a user or a mail, and its limits in size and depth."""

from typing import Annotated, Any

import orjson
from pydantic import AfterValidator, BeforeValidator, JsonValue

_METADATA_MAX_BYTES = 4096

# orjson writes at most 254 levels. Metadata must also fit into a list of users or a mail with its content, or one
# person's metadata would turn every answer that shows it into a 500.
_METADATA_MAX_LEVELS = 64


def shallow_json(value: Any) -> Any:
    """Runs before pydantic's own validation, whose limit differs and whose error would point nowhere."""
    if _is_deeper_than(_METADATA_MAX_LEVELS, value):
        raise ValueError(f"Must be nested at most {_METADATA_MAX_LEVELS} levels deep")
    return value


def _is_deeper_than(levels: int, value: Any) -> bool:
    if not isinstance(value, dict | list):
        return False
    inside = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper_than(levels - 1, item) for item in inside)


def storable_json(value: dict[str, JsonValue]) -> dict[str, JsonValue]:
    """A JSON object that PostgreSQL's jsonb can hold, and that is small enough to store with a row."""
    try:
        encoded = orjson.dumps(value)
    except TypeError:
        raise ValueError("Numbers must fit into 64 bits, and keys must be strings") from None
    if len(encoded) > _METADATA_MAX_BYTES:
        raise ValueError(f"Must be at most {_METADATA_MAX_BYTES} bytes of JSON")
    return value


Metadata = Annotated[dict[str, JsonValue], BeforeValidator(shallow_json), AfterValidator(storable_json)]
