"""The response models of /v1/imports."""

from datetime import datetime

from pydantic import BaseModel

from shared.contract.ids import UUID

from ..imports.states import Outcome, State


class Outcomes(BaseModel):
    """How many rows had which outcome."""

    created: int
    """Rows that made a user (in a dry run: would make one)."""
    already_exists: int
    """Rows whose address or external ID has a user already, who is left as is."""
    duplicate: int
    """Rows whose address or external ID an earlier row of the file has."""
    invalid: int
    """Rows that cannot be a user; `reason` of the row says why."""


class Import(BaseModel):
    """`done` when every row has its outcome. `mails_left` may still be leaving then, at `mails_per_minute`."""

    id: UUID
    """The ID of the import."""
    source: str
    """Where the users come from. Source and external ID identify a user."""
    state: State
    """`receiving` the body, `running`, `paused`, `done`, `canceled`, or `failed` (the upload broke off; send it
    again)."""
    dry_run: bool
    """Whether it reports outcomes and creates no user."""
    mails_per_minute: int
    """How many of its mails may leave in a minute; 0: unpaced."""
    rows: int
    """Rows of the file."""
    outcomes: Outcomes
    """How many rows had which outcome so far."""
    mails_owed: int
    """Mails that its users are owed."""
    mails_left: int
    """Mails that have not been handed to the mail service yet."""
    failure: str | None
    """Why it failed; null: it did not."""
    created_at: datetime
    """When its upload began."""
    finished_at: datetime | None
    """When every row had its outcome, or it was canceled or failed; null: not yet."""


class ImportPage(BaseModel):
    """A page of imports."""

    items: list[Import]
    next_cursor: str | None


class ImportRowReport(BaseModel):
    """One row of the file, and how it ended."""

    line: int
    """The line of the file where the row begins, from 1."""
    external_id: str | None
    """The person's ID at the source; null when the row has none that can be read."""
    email: str | None
    """The address in the row; null when it has none that can be read."""
    outcome: Outcome
    """How the row ended."""
    reason: str | None
    """Why it made no user; null when it did."""
    user_id: UUID | None
    """The user that it made, or that has its address or ID already; null: none."""


class ImportRowPage(BaseModel):
    """A page of an import's rows."""

    items: list[ImportRowReport]
    next_cursor: str | None
