"""Erases a person from the mail ledger, by address or by the client's metadata."""

from typing import Annotated, Self

from fastapi import APIRouter, Depends
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.fields import Email, Strict
from shared.contract.metadata import storable_json
from shared.contract.principals import Principal
from shared.http import openapi
from shared.http.authentication import Key
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..operator_actions import erase
from .app_state import state_of

router = APIRouter(prefix="/v1/erasures", route_class=StrictRoute, tags=["Erasures"])


def _single(value: object) -> object:
    """Ask before pydantic does, which would report a fault for each type."""
    if not isinstance(value, str | int):
        raise ValueError("Must be a string, a whole number, `true` or `false`")  # noqa: TRY004 - pydantic reports no TypeError
    return value


class Erasure(Strict):
    """Which mails: those to `email`, or those with every pair of `metadata`. Give exactly one."""

    email: Email | None = None
    """Every mail to this address."""
    # No objects or lists: an empty one would match every mail.
    metadata: (
        Annotated[
            dict[str, Annotated[StrictStr | StrictInt | StrictBool, BeforeValidator(_single)]],
            Field(min_length=1, max_length=20),
            AfterValidator(storable_json),
        ]
        | None
    ) = None
    """Every mail of the client whose metadata has all these members, like `{"user_id": "…"}`: up to 20, at most 4096
    bytes."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.email is None) == (self.metadata is None):
            raise ValueError("Give either `email` or `metadata`, not both")
        return self


class Erased(BaseModel):
    """How many mails it concerned."""

    erased: int = Field(description="Number of mails whose personal data was removed")


@router.post("", response_model=Erased, responses=openapi.keyed(problems.UnsupportedMediaType))
async def erase_person(
    body: Erasure, request: Request, principal: Annotated[Principal, Depends(Key("mails:operate"))]
) -> Response:
    """Wipe addresses, names, content and gateway replies of a person's mails, and cancel those that wait.

    Each mail's record, request ID and state stay. Repeating the call is harmless.
    """
    state = state_of(request)
    if body.email is not None:
        count = await erase.erase_address(state.database, principal, body.email)
    else:
        assert body.metadata is not None
        count = await erase.erase_matching(state.database, principal, body.metadata)
    return JsonResponse({"erased": count})
