"""What a browser sends: the fields of a query or a form, read one by one. What is wrong is a problem that names it."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qsl

from starlette.requests import Request

from shared.contract.addresses import address_key, is_plain_text
from shared.contract.ids import UUID
from shared.contract.problems import InvalidRequest, invalid
from shared.contract.storable_text import is_storable
from shared.http.pagination import after_id

# No form has more; a body is bounded by the API's own limit.
_MAX_FIELDS = 50
_LONGEST = 2_000


def wrong(field: str, detail: str) -> InvalidRequest:
    """A refusal that names one field."""
    return invalid([{"parameter": field, "detail": detail}])


class Fields:
    """Fields by name, in the order they were sent. Blank ones count as absent: forms send every field."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in pairs:
            if not is_storable(name + value):
                raise wrong("the request", "Must be UTF-8 without NUL characters")
            if value.strip():
                self._values.setdefault(name, []).append(value.strip())

    @classmethod
    def of_query(cls, request: Request) -> "Fields":
        return cls(_pairs(request.scope["query_string"]))

    @classmethod
    async def of_body(cls, request: Request) -> "Fields":
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await request.body()
        if body and media_type != "application/x-www-form-urlencoded":
            raise wrong("the request", "Must be a form")
        return cls(_pairs(body))

    def all(self) -> Mapping[str, Sequence[str]]:
        return self._values

    def texts(self, name: str) -> list[str]:
        return self._values.get(name, [])

    def text(self, name: str, *, longest: int = _LONGEST) -> str:
        """The last value, or an empty text."""
        value = self._values.get(name, [""])[-1]
        if len(value) > longest:
            raise wrong(name, f"Must have at most {longest} characters")
        return value

    def required(self, name: str, *, longest: int = 500) -> str:
        """Text on one line."""
        value = self.text(name, longest=longest)
        if not value or not is_plain_text(value):
            raise wrong(name, "Must be filled in, on one line")
        return value

    def choice(self, name: str, allowed: Sequence[str], default: str = "") -> str:
        value = self.text(name) or default
        if value and value not in allowed:
            raise wrong(name, f"Must be one of {', '.join(allowed)}")
        return value

    def choices(self, name: str, allowed: Sequence[str]) -> list[str]:
        found = self.texts(name)
        if not set(found) <= set(allowed):
            raise wrong(name, f"Must be among {', '.join(allowed)}")
        return found

    def uuid(self, name: str) -> UUID | None:
        text = self.text(name)
        if not text:
            return None
        found = as_uuid(text)
        if found is None:
            raise wrong(name, "Must be an ID like 0198c5f2-1d6e-7a3b-9c41-5f0e2d7a8b10")
        return found

    def cursor(self, name: str = "cursor") -> UUID | None:
        return after_id(self.text(name, longest=200) or None)

    def address(self, name: str) -> str:
        """The comparison key of an address, or an empty text."""
        text = self.text(name, longest=320)
        try:
            return address_key(text) if text else ""
        except ValueError as error:
            raise wrong(name, str(error)) from None

    def time(self, name: str) -> datetime | None:
        """A time as browsers write it, without an offset: UTC, as every page shows it."""
        text = self.text(name)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
            return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        except (ValueError, OverflowError):
            raise wrong(name, "Must be a time in UTC, like 2026-01-31T12:00") from None


def as_uuid(text: str) -> UUID | None:
    """Only the usual spelling: Python reads others."""
    try:
        found = UUID(text)
    except ValueError:
        return None
    return found if str(found) == text.lower() else None


def _pairs(text: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            text.decode("ascii"), keep_blank_values=True, errors="surrogateescape", max_num_fields=_MAX_FIELDS
        )
    except ValueError:
        raise wrong("the request", f"Must be an URL-encoded form with at most {_MAX_FIELDS} fields") from None
