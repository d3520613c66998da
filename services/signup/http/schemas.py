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
    """A person who signs up."""

    email: EmailAddress
    """The address, with a Unicode or an A-label domain."""
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
    """Who asks for another link."""

    email: EmailAddress
    """The address, as it was signed up."""
    challenge: Solution = None


class VerificationRequest(Strict):
    """The token that proves the address."""

    token: Annotated[str, Field(min_length=1, max_length=500)]
    """The last part of the link in the mail."""


class Challenge(BaseModel):
    """A challenge, to be solved before the request that needs it."""

    algorithm: Literal["SHA-256"]
    """How `challenge` was made."""
    challenge: str
    """The hex SHA-256 of `salt` and the number to find."""
    maxnumber: int
    """The number is at most this."""
    salt: str
    """What the digits of the number are appended to. It says until when the challenge is good."""
    signature: str
    """Shows that this service made the challenge. Send it back as it is."""


class Accepted(BaseModel):
    """The request is accepted; what happens with it depends on the address."""

    status: Literal["accepted"]
    """Always `accepted`, for every address."""


class Verified(BaseModel):
    """The address is verified, now or before."""

    status: Literal["verified", "already_verified"]
    """`already_verified` when the address was verified before."""


class User(BaseModel):
    """A user as it is now."""

    id: UUID
    """The ID of the user, a UUIDv7."""
    email: str | None
    """The normalized address, with a Unicode domain; null once erased."""
    name: str | None
    """How mails address the user; null once erased."""
    locale: str
    """Language of the user's mails, BCP 47."""
    status: Literal["pending", "verified", "erased"]
    """`pending` until the address is verified; `erased` users have no personal data."""
    source: str
    """Where the user comes from: `web` without a key, the client whose key it was, or the source of an import."""
    external_id: str | None
    """The user's ID at the source of an import; null: none."""
    metadata: dict[str, Any]
    """The JSON object that was given with the signup or import."""
    created_at: datetime
    """When the user signed up or was imported."""
    verified_at: datetime | None
    """When the address was verified; null: not yet."""


class UserPage(BaseModel):
    """A page of users."""

    items: list[User]
    next_cursor: str | None
