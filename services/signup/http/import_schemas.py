"""The response models of /v1/imports."""

from datetime import datetime

from pydantic import BaseModel

from shared.contract.ids import UUID

from ..imports.states import Outcome, State


class Outcomes(BaseModel):
    created: int
    already_exists: int
    duplicate: int
    invalid: int


class Import(BaseModel):
    """`done` when every row has its outcome. `mails_left` may still be leaving then, at `mails_per_minute`."""

    id: UUID
    source: str
    state: State
    dry_run: bool
    mails_per_minute: int
    rows: int
    outcomes: Outcomes
    mails_owed: int
    mails_left: int
    failure: str | None
    created_at: datetime
    finished_at: datetime | None


class ImportPage(BaseModel):
    items: list[Import]
    next_cursor: str | None


class ImportRowReport(BaseModel):
    line: int
    external_id: str | None
    email: str | None
    outcome: Outcome
    reason: str | None
    user_id: UUID | None


class ImportRowPage(BaseModel):
    items: list[ImportRowReport]
    next_cursor: str | None
