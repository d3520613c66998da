"""The calls of the signup service, as plans. `signup.py` gives them their public faces."""

import uuid
from collections.abc import Mapping
from typing import Any, TypedDict
from uuid import UUID

from .answers import read
from .mail_fields import encoded
from .records import SignedUp, User, read_user
from .request_ids import checked
from .retrying import Exchange
from .steps import Answer, Call, Plan

_CREATED, _ACCEPTED = 201, 202


class SignUpFields(TypedDict, total=False):
    """What may be given with an address and a name. None counts as not given."""

    locale: str | None
    metadata: Mapping[str, Any] | None
    return_to: str | None
    challenge: str | None


class SignupPlans:
    def __init__(self, exchange: Exchange, *, is_keyed: bool) -> None:
        self._exchange = exchange
        self._is_keyed = is_keyed

    def sign_up(
        self, email: str, name: str, idempotency_key: str | None, optional: Mapping[str, Any]
    ) -> Plan[SignedUp]:
        """The key is the same in all repetitions, so a lost answer is given again.

        Without an API key or a challenge none is needed: the answer is the same for every address and time, and the
        cooldown keeps a repetition from causing a second mail. A challenge is good once, except for its own repetition.
        """
        if unknown := optional.keys() - SignUpFields.__annotations__.keys():
            raise TypeError(f"A signup has no field {', '.join(map(repr, sorted(unknown)))}")
        if idempotency_key is None and (self._is_keyed or optional.get("challenge") is not None):
            idempotency_key = str(uuid.uuid4())
        headers = {} if idempotency_key is None else {"idempotency-key": checked(idempotency_key)}
        body = encoded({"email": email, "name": name} | _given(optional))
        answer = yield from self._exchange.ask(Call("POST", "/v1/signups", body=body, headers=headers))
        return _signed_up(answer)

    def resend(self, email: str, challenge: str | None) -> Plan[None]:
        body = encoded({"email": email} | _given({"challenge": challenge}))
        # A challenge is good once: after a lost answer the next one needs another.
        call = Call("POST", "/v1/verifications/resend", body=body, is_repeatable=challenge is None)
        yield from self._exchange.ask(call)

    def verify(self, token: str) -> Plan[str]:
        answer = yield from self._exchange.ask(Call("POST", "/v1/verifications", body=encoded({"token": token})))
        return read(answer, lambda members: str(members["status"]))

    def user(self, user_id: UUID | str) -> Plan[User]:
        answer = yield from self._exchange.ask(Call("GET", f"/v1/users/{UUID(str(user_id))}"))
        return read(answer, read_user)

    def erase(self, user_id: UUID | str) -> Plan[None]:
        yield from self._exchange.ask(Call("DELETE", f"/v1/users/{UUID(str(user_id))}"))


def _given(optional: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in optional.items() if value is not None}


def _signed_up(answer: Answer) -> SignedUp:
    replayed = answer.headers.get("idempotent-replayed") == "true"
    user = None if answer.status == _ACCEPTED else read(answer, read_user)
    return SignedUp(user, answer.status == _CREATED, replayed)
