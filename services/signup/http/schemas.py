"""What may come in and what goes out, as the API documents it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from shared.contract.fields import Locale, Strict
from shared.contract.ids import UUID
from shared.contract.metadata import Metadata

from ..accounts.fields import EmailAddress, Name

MAX_BODY_BYTES = 64 * 1024


class SignupRequest(Strict):
    email: EmailAddress
    name: Name = Field(description="How to address the person; mails leave out what may be a link or a message")
    locale: Locale | None = Field(
        None, description="Language of the mails, BCP 47; `en` unless said, and again: as it is"
    )
    metadata: Metadata | None = Field(
        None,
        description="PartitionRetention with the user, at most 4096 bytes of JSON; again: replaces all of it, if it is said",
    )


class ResendRequest(Strict):
    email: EmailAddress


class VerificationRequest(Strict):
    token: Annotated[str, Field(min_length=1, max_length=500)]


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
