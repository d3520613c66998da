"""The request and response models of users, signups and verifications."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from shared.contract.fields import Locale, Strict
from shared.contract.ids import UUID
from shared.contract.metadata import Metadata

from ..accounts.fields import EmailAddress, Name

MAX_BODY_BYTES = 64 * 1024


# What is wrong with one is for 403 `challenge-required` to say, the same for all.
Solution = Annotated[
    str | None,
    Field(
        max_length=2000,
        description="The solution of a challenge from GET /v1/challenges, which callers without a key may need",
    ),
]


class SignupRequest(Strict):
    email: EmailAddress
    name: Name = Field(description="How mails address the user; mails omit a name that may be a link or a message")
    locale: Locale | None = Field(
        None, description="Language of the mails, BCP 47. Default: with a key the stored value, else `en`"
    )
    metadata: Metadata | None = Field(
        None,
        description=(
            "Stored with the user, at most 4096 bytes of JSON. When given again with a key, it replaces the stored "
            "value; without a key, when the link of that signup's mail is used. Default: with a key the stored value, "
            "else `{}`"
        ),
    )

    return_to: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        None,
        description="A page of your product, for the button that is shown after the address is verified; one of "
        "SIGNUP_RETURN_URLS, or below one",
    )
    challenge: Solution = None


class ResendRequest(Strict):
    email: EmailAddress
    challenge: Solution = None


class VerificationRequest(Strict):
    token: Annotated[str, Field(min_length=1, max_length=500)]


class Challenge(BaseModel):
    algorithm: Literal["SHA-256"]
    challenge: str
    maxnumber: int
    salt: str
    signature: str


class Accepted(BaseModel):
    status: Literal["accepted"]


class Verified(BaseModel):
    status: Literal["verified", "already_verified"]


class User(BaseModel):
    id: UUID
    email: str | None
    name: str | None
    locale: str
    status: Literal["pending", "verified", "erased"]
    source: str
    external_id: str | None
    metadata: dict[str, Any]
    created_at: datetime
    verified_at: datetime | None


class UserPage(BaseModel):
    items: list[User]
    next_cursor: str | None
