"""Erasing a person from the mail ledger: by address, or by what the client calls them."""

from typing import Annotated, Self

from fastapi import APIRouter, Depends
from pydantic import AfterValidator, BaseModel, Field, StrictBool, StrictInt, StrictStr, model_validator
from starlette.requests import Request
from starlette.responses import Response

from shared.contract import problems
from shared.contract.fields import Email, Strict
from shared.contract.metadata import storable_json
from shared.http import openapi
from shared.http.authentication import Key, Principal
from shared.http.responses import JsonResponse
from shared.http.routing import StrictRoute

from ..operator_actions import erase
from .app_state import state_of

router = APIRouter(prefix="/v1/erasures", route_class=StrictRoute, tags=["operators"])


class Erasure(Strict):
    """Whose mails: `email`, or `metadata`, of which a mail must have every pair. One of the two."""

    email: Email | None = None
    # Not objects or lists: an empty one would be in every mail.
    metadata: (
        Annotated[
            dict[str, StrictStr | StrictInt | StrictBool],
            Field(min_length=1, max_length=20),
            AfterValidator(storable_json),
        ]
        | None
    ) = None

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.email is None) == (self.metadata is None):
            raise ValueError("Give either `email` or `metadata`")
        return self


class Erased(BaseModel):
    erased: int = Field(description="Mails that held something personal until now")


@router.post("", response_model=Erased, responses=openapi.keyed(problems.UnsupportedMediaType))
async def erase_person(
    body: Erasure, request: Request, principal: Annotated[Principal, Depends(Key("mails:operate"))]
) -> Response:
    """Wipe addresses, names, content and gateways' words of a person's mails; those that wait are canceled.

    That there was a mail, its request ID and what became of it stays. Asking again does no harm.
    """
    state = state_of(request)
    if body.email is not None:
        count = await erase.erase_address(state.database, principal, body.email)
    else:
        assert body.metadata is not None
        count = await erase.erase_matching(state.database, principal, body.metadata)
    return JsonResponse({"erased": count})
