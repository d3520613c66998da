"""Sends a group of failed or expired mails again, after the cause of their failure was repaired."""

from typing import Annotated, Literal

from pydantic import Field

from shared.contract.fields import Line, Spelled, Strict
from shared.contract.ids import UUID
from shared.contract.timestamps import Timestamp
from shared.db.pool import Pool

from . import queries

# Mails looked at per commit: locks are held briefly, however many match.
_WINDOW = 1_000
# RFC 3463 section 2.
_ENHANCED_CODE = r"[245]\.[0-9]{1,3}\.[0-9]{1,3}"


class GivenUp(Strict):
    """Which mails: all conditions must hold."""

    state: Literal["failed", "expired"]
    """Mails in this state."""
    gateway: Annotated[Line, Field(min_length=1, max_length=100)] | None = Field(
        None, description="The gateway that tried them last"
    )
    enhanced_code: Annotated[str, Spelled(_ENHANCED_CODE, "Must be an enhanced status code like `5.1.1`")] | None = (
        Field(None, description="The enhanced code of the last failure")
    )
    after: Timestamp | None = Field(None, description="Given up at this time or later")
    before: Timestamp | None = Field(None, description="Given up before this time")


async def retry_matching(
    pool: Pool, wanted: GivenUp, *, client: str | None, actor: str, lifetime_seconds: float
) -> int:
    """Returns how many mails of `client` (None: of all clients) are queued again. They keep their ID and their content.

    Commits in batches, each mail with its line of history. A failing batch does not undo earlier ones. Mails whose
    content was wiped stay as they are.
    """
    retried, last = 0, UUID(int=0)
    while True:
        row = await pool.fetchrow(
            queries.RETRY_MATCHING_IF_GIVEN_UP,
            wanted.state,
            client,
            actor,
            lifetime_seconds,
            last,
            _WINDOW,
            wanted.gateway,
            wanted.enhanced_code,
            wanted.after,
            wanted.before,
        )
        assert row is not None
        retried += int(row["retried"])
        if row["seen"] < _WINDOW:
            return retried
        last = row["last"]
