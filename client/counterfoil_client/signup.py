"""The signup service: `Signup` blocks, `AsyncSignup` runs on asyncio. Both perform the same plans."""

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable
from typing import Self, Unpack
from uuid import UUID

import httpx

from .drivers import AsyncDriver, Driver, http_options
from .records import SignedUp, User
from .retrying import Exchange, Repeat, Retry, Timing
from .signup_plans import SignUpFields, SignupPlans


class Signup:
    """A client of the signup service. Without `api_key` it may do what strangers may: sign up, verify, resend.

    `transport`, `timing` and `sleep` are for tests. Every call raises ApiError when the service refuses, and
    TransportError when it has given no verdict before the deadline.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        retry: Retry | None = None,
        on_repeat: Callable[[Repeat], None] | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
        timing: Timing | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        http = httpx.Client(transport=transport, **http_options(url, api_key=api_key, verify=verify))
        self._driver = Driver(http, sleep)
        exchange = Exchange(retry or Retry(), timing or Timing(), on_repeat)
        self._plans = SignupPlans(exchange, is_keyed=api_key is not None)

    def sign_up(
        self, *, email: str, name: str, idempotency_key: str | None = None, **optional: Unpack[SignUpFields]
    ) -> SignedUp:
        """Sign a person up. When this returns, the person and the mail owed to them are committed.

        With an API key, `idempotency_key` makes the first answer come again whenever the same key is used; without
        one, a key of its own makes it so within this call. Give your own, like `request_id("signup", form.id)`, when
        your process may end before it has stored the answer.

        Raises:
            AlreadyVerified: the address belongs to a verified user (only with an API key).
            RequestIdReused: the key was used for another signup.
            ChallengeRequired: callers without an API key must solve a challenge first.
        """
        return self._driver.run(self._plans.sign_up(email, name, idempotency_key, optional))

    def resend(self, *, email: str, challenge: str | None = None) -> None:
        """Mail another verification link to a pending address, at most once per cooldown."""
        self._driver.run(self._plans.resend(email, challenge))

    def verify(self, token: str) -> str:
        """Verify an address by the token of its link: `verified`, or `already_verified` when it was before.

        Raises:
            TokenUnknown, TokenExpired: nothing was changed.
        """
        return self._driver.run(self._plans.verify(token))

    def user(self, user_id: UUID | str) -> User:
        """A user (scope `users:read`). Raises NotFound or UserErased."""
        return self._driver.run(self._plans.user(user_id))

    def erase(self, user_id: UUID | str) -> None:
        """Erase a user (scope `users:erase`). A repetition changes nothing. Raises NotFound."""
        self._driver.run(self._plans.erase(user_id))

    def close(self) -> None:
        self._driver.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncSignup:
    """`Signup` on asyncio: the same methods, awaited."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        retry: Retry | None = None,
        on_repeat: Callable[[Repeat], None] | None = None,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
        timing: Timing | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        http = httpx.AsyncClient(transport=transport, **http_options(url, api_key=api_key, verify=verify))
        self._driver = AsyncDriver(http, sleep)
        exchange = Exchange(retry or Retry(), timing or Timing(), on_repeat)
        self._plans = SignupPlans(exchange, is_keyed=api_key is not None)

    async def sign_up(
        self, *, email: str, name: str, idempotency_key: str | None = None, **optional: Unpack[SignUpFields]
    ) -> SignedUp:
        """See `Signup.sign_up`."""
        return await self._driver.run(self._plans.sign_up(email, name, idempotency_key, optional))

    async def resend(self, *, email: str, challenge: str | None = None) -> None:
        """See `Signup.resend`."""
        await self._driver.run(self._plans.resend(email, challenge))

    async def verify(self, token: str) -> str:
        """See `Signup.verify`."""
        return await self._driver.run(self._plans.verify(token))

    async def user(self, user_id: UUID | str) -> User:
        """See `Signup.user`."""
        return await self._driver.run(self._plans.user(user_id))

    async def erase(self, user_id: UUID | str) -> None:
        """See `Signup.erase`."""
        await self._driver.run(self._plans.erase(user_id))

    async def close(self) -> None:
        await self._driver.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
