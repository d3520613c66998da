"""Errors as RFC 9457 problems: one base class, from which each service's `errors.py` derives its own.

`shared.http.responses` renders them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

from .correlation import current

MEDIA_TYPE = "application/problem+json"


# GET /problems/<slug> shows the docstring of each kind.
class Problem(Exception):  # noqa: N818 - RFC 9457 calls it a problem
    """An internal error. It was logged with the correlation ID; please include that ID when you report it."""

    status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal-error"
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Iterable[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = [dict(error) for error in errors]
        self.headers = dict(headers or {})
        self.members = members

    def as_dict(self) -> dict[str, Any]:
        """The problem as a response body, and as part of a batch result."""
        correlation = current()
        body: dict[str, Any] = {
            "type": f"/problems/{self.slug}",
            "title": self.title,
            "status": self.status,
            "detail": self.detail,
            "request_id": correlation.request_id if correlation else None,
            **self.members,
        }
        if self.errors:
            body["errors"] = self.errors
        return body


def kinds(root: type[Problem] = Problem) -> Iterator[type[Problem]]:
    """Every kind of problem below `root`, itself included."""
    yield root
    for child in root.__subclasses__():
        yield from kinds(child)


def pointer(path: Iterable[object]) -> str:
    """A JSON pointer (RFC 6901) from the parts of a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def at(place: str, detail: str) -> dict[str, str]:
    """An entry of `errors` for a place in the body (JSON pointer, RFC 6901)."""
    return {"pointer": place, "detail": detail}


class InvalidRequest(Problem):
    """The request was understood, but a part of it is not acceptable. `errors` names each part."""

    status, slug, title = 422, "invalid-request", "The request is not valid"


def invalid(errors: Sequence[Mapping[str, str]]) -> InvalidRequest:
    """A refusal for these `errors`, the first of them in its detail."""
    return InvalidRequest("; ".join(f"{_place(error)}: {error['detail']}" for error in errors[:3]), errors=errors)


def _place(error: Mapping[str, str]) -> str:
    return error.get("pointer", error.get("parameter", error.get("header", ""))) or "body"


class MalformedRequest(Problem):
    """The request could not be read."""

    status, slug, title = 400, "malformed-request", "The request cannot be read"


class Unauthorized(Problem):
    """A valid API key is needed: `Authorization: Bearer cf_…`."""

    status, slug, title = 401, "unauthorized", "A valid API key is needed"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": 'Bearer realm="counterfoil"'})


class Forbidden(Problem):
    """The API key lacks the scope that this call needs."""

    status, slug, title = 403, "forbidden", "The API key does not allow this"


class NotFound(Problem):
    """The resource does not exist, or it belongs to another client."""

    status, slug, title = 404, "not-found", "Not found"


class MethodNotAllowed(Problem):
    """The resource exists, but not with this method; `Allow` lists those it has."""

    status, slug, title = 405, "method-not-allowed", "Method not allowed"


class PayloadTooLarge(Problem):
    """The body is larger than this call allows."""

    status, slug, title = 413, "payload-too-large", "The body is too large"


class UnsupportedMediaType(Problem):
    """This call does not accept the media type of the body."""

    status, slug, title = 415, "unsupported-media-type", "Unsupported media type"


class Unavailable(Problem):
    """The service's own database is unavailable. Nothing is lost: send the same request again."""

    status, slug, title = 503, "unavailable", "The service cannot answer now"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "1"})
