"""What a fake answers: JSON, and problems (RFC 9457) with the slugs of the real service."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import ApiError, InvalidRequest


@dataclass(frozen=True, slots=True)
class Reply:
    """`is_lost`: the request is carried out, and the connection ends before the answer."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_lost: bool = False


class Refusal(Exception):  # noqa: N818 - it is answered, as a problem
    """A problem to answer with."""

    def __init__(
        self,
        kind: type[ApiError],
        status: int,
        errors: Sequence[Mapping[str, str]] = (),
        detail: str = "",
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(kind.slug)
        self.status = status
        self.headers = headers or {}
        title = kind.slug.replace("-", " ").capitalize()
        reasons = "; ".join(f"{next(iter(error.values()))}: {error['detail']}" for error in errors)
        self.members: dict[str, Any] = {
            "type": f"/problems/{kind.slug}",
            "title": title,
            "status": status,
            "detail": detail or reasons or title,
            "request_id": str(uuid.uuid4()),
            **members,
        }
        if errors:
            self.members["errors"] = [dict(error) for error in errors]

    def reply(self) -> Reply:
        headers = {"content-type": "application/problem+json", **self.headers}
        return Reply(self.status, _encoded(self.members), headers)


def json_reply(status: int, members: object, headers: Mapping[str, str] | None = None) -> Reply:
    return Reply(status, _encoded(members), {"content-type": "application/json", **(headers or {})})


def at(pointer: str, detail: str) -> dict[str, str]:
    """An entry of `errors` for a place in the body."""
    return {"pointer": pointer, "detail": detail}


def invalid(errors: Sequence[Mapping[str, str]]) -> Refusal:
    return Refusal(InvalidRequest, 422, errors)


def invalid_parameter(name: str, detail: str) -> Refusal:
    return invalid([{"parameter": name, "detail": detail}])


def _encoded(members: object) -> bytes:
    return json.dumps(members, ensure_ascii=False).encode() + b"\n"
