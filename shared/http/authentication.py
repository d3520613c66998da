"""Authentication: `Authorization: Bearer cf_…` to a principal with scopes. Keys are cached for a few seconds."""

import asyncio
import hmac
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from urllib.parse import unquote

from fastapi.openapi.models import HTTPBearer as HTTPBearerModel
from fastapi.security.base import SecurityBase
from starlette.requests import Request

from ..contract.principals import (
    CONSOLE,
    INTERFACE_HEADER,
    NAMES_OPERATORS,
    OPERATOR_HEADER,
    Principal,
    is_operator_name,
)
from ..contract.problems import Forbidden, InvalidRequest, Unauthorized
from ..db import api_keys
from ..db.pool import UNAVAILABLE, Pool, Record

# A revoked key works for at most this much longer.
_CACHE_SECONDS = 5.0
# Calls that must work in an outage wait this long for the database that holds the keys.
_OUTAGE_SECONDS = 2.0
# Where the request scope holds the principal.
_PRINCIPAL = "counterfoil.principal"
_UNCHECKED = "counterfoil.key_unchecked"


class Authenticator:
    """Checks keys against the `api_keys` table of its own service."""

    def __init__(self, pool: Pool, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._pool = pool
        self._clock = clock
        self._cache: dict[str, tuple[float, Record | None]] = {}

    async def authenticate(self, header: str, *, in_outage: bool = False) -> Principal:
        """The principal of an Authorization header.

        With `in_outage`, a key that this process knows already is still known while the database is unavailable.

        Raises:
            Unauthorized: not a Bearer key, unknown, wrong, expired or revoked; the status is the same for all.
        """
        scheme, _, text = header.partition(" ")
        key = api_keys.parse(text.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise Unauthorized("Send `Authorization: Bearer cf_…` with a key of this service.")
        row = await (self._find_in_outage(key.key_id) if in_outage else self._find(key.key_id))
        expected = row["key_hash"] if row else bytes(32)
        if not hmac.compare_digest(key.hash, expected) or row is None:
            raise Unauthorized("This service does not know the API key.")
        if row["revoked_at"] or (row["expires_at"] and row["expires_at"] <= datetime.now(UTC)):
            raise Unauthorized("The API key has expired or was revoked.")
        return Principal(row["client"], row["id"], frozenset(row["scopes"]))

    async def _find(self, key_id: str) -> Record | None:
        now = self._clock()
        cached = self._cache.get(key_id)
        if cached and cached[0] > now:
            return cached[1]
        row = await self._pool.fetchrow(api_keys.FIND_KEY, key_id)
        if row is not None:  # unknown IDs are not cached: guesses must not fill memory
            self._cache[key_id] = (now + _CACHE_SECONDS, row)
        return row

    async def _find_in_outage(self, key_id: str) -> Record | None:
        try:
            async with asyncio.timeout(_OUTAGE_SECONDS):
                return await self._find(key_id)
        except UNAVAILABLE:
            if key_id not in self._cache:
                raise
            return self._cache[key_id][1]


class Key(SecurityBase):
    """A dependency: the caller's key must have `scope`. OpenAPI shows it as a bearer key.

    Uses `app.state.authenticator`. `StrictRoute` checks the key first; checking again costs nothing. `in_outage` is for
    calls that say what is wrong: their keys stay known while the database is unavailable.
    """

    def __init__(self, scope: str, *, in_outage: bool = False) -> None:
        self.scope = scope
        self.in_outage = in_outage
        self.scheme_name = "ApiKey"
        self.model = HTTPBearerModel(bearerFormat="cf_<keyid>_<secret><crc>", description="Minted by `keys create`.")

    async def __call__(self, request: Request) -> Principal:
        principal: Principal | None = request.scope.get(_PRINCIPAL)
        if principal is None:
            authenticator: Authenticator = request.app.state.authenticator
            header = request.headers.get("authorization", "")
            principal = await authenticator.authenticate(header, in_outage=self.in_outage)
            principal = request.scope[_PRINCIPAL] = _through_the_console(request, principal)
        if self.scope and self.scope not in principal.scopes:
            raise Forbidden(f"This call needs a key with the scope `{self.scope}`.")
        return principal


def _through_the_console(request: Request, principal: Principal) -> Principal:
    """Who history names. The console says that it calls, and with a key that may, for which operator.

    Without such a key the operator is the key's client: no client can act in the name of another.
    """
    if request.headers.get(INTERFACE_HEADER) != CONSOLE:
        return principal
    named = request.headers.get(OPERATOR_HEADER)
    if named is None:
        return replace(principal, console_operator=principal.client)
    if NAMES_OPERATORS not in principal.scopes:
        raise Forbidden(f"To name an operator, a key needs the scope `{NAMES_OPERATORS}`.")
    operator = unquote(named, errors="replace")
    if not is_operator_name(operator):
        detail = "Must be the percent-encoded name of an operator: 1 to 200 printable characters"
        raise InvalidRequest(f"{OPERATOR_HEADER}: {detail}", errors=[{"header": OPERATOR_HEADER, "detail": detail}])
    return replace(principal, console_operator=operator)


class AnyKey(Key):
    """A key of this service, whatever its scopes."""

    def __init__(self) -> None:
        super().__init__("")


class OptionalKey(Key):
    """Like `Key`, but without an Authorization header the client is anonymous: None."""

    async def __call__(self, request: Request) -> Principal | None:  # type: ignore[override]
        if "authorization" not in request.headers:
            return None
        return await super().__call__(request)


class HealthKey(OptionalKey):
    """For `/health`: a key that cannot be looked up in an outage counts as none, so that the status is still told."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope, in_outage=True)

    async def __call__(self, request: Request) -> Principal | None:  # type: ignore[override]
        if _UNCHECKED in request.scope:
            return None
        try:
            return await super().__call__(request)
        except UNAVAILABLE:
            request.scope[_UNCHECKED] = True  # StrictRoute asks first, and the dependency must not wait again
            return None
