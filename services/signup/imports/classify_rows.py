"""Decides the outcome of each row before anything is written. Pure.

An existing user is never overwritten. Of several rows for the same user, the first readable one counts. An invalid or
duplicate row does not block later rows.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.contract.ids import UUID

from .row_parser import Candidate, Unreadable
from .states import Outcome


@dataclass(frozen=True, slots=True)
class KnownUsers:
    """Matches by address key and by external ID: in earlier rows of the file, and among existing users."""

    file_emails: Mapping[str, UUID | None]
    file_ids: Mapping[str, UUID | None]
    user_emails: Mapping[str, UUID]
    user_ids: Mapping[str, UUID]


@dataclass(frozen=True, slots=True)
class Decision:
    """`same_as` is the line in this batch that a duplicate repeats."""

    row: Candidate | Unreadable
    outcome: Outcome
    reason: str | None = None
    user_id: UUID | None = None
    same_as: int | None = None


def decide(rows: Iterable[Candidate | Unreadable], known: KnownUsers) -> list[Decision]:
    """The decisions in row order."""
    emails: dict[str, Decision] = {}
    ids: dict[str, Decision] = {}
    decisions = []
    for row in rows:
        if isinstance(row, Unreadable):
            decisions.append(Decision(row, Outcome.INVALID, row.reason))
            continue
        decision = (
            _repeats_in_batch(row, emails, ids)
            or _repeats_in_file(row, known)
            or _existing_user(row, known)
            or Decision(row, Outcome.CREATED)
        )
        if decision.outcome is not Outcome.DUPLICATE:
            emails[row.email_key] = ids[row.external_id] = decision
        decisions.append(decision)
    return decisions


def _repeats_in_batch(row: Candidate, emails: Mapping[str, Decision], ids: Mapping[str, Decision]) -> Decision | None:
    for field, seen in (("external_id", ids.get(row.external_id)), ("email", emails.get(row.email_key))):
        if seen is not None:
            return Decision(row, Outcome.DUPLICATE, _REPEATED[field], seen.user_id, seen.row.line)
    return None


def _repeats_in_file(row: Candidate, known: KnownUsers) -> Decision | None:
    if row.external_id in known.file_ids:
        return Decision(row, Outcome.DUPLICATE, _REPEATED["external_id"], known.file_ids[row.external_id])
    if row.email_key in known.file_emails:
        return Decision(row, Outcome.DUPLICATE, _REPEATED["email"], known.file_emails[row.email_key])
    return None


def _existing_user(row: Candidate, known: KnownUsers) -> Decision | None:
    if row.external_id in known.user_ids:
        return Decision(row, Outcome.ALREADY_EXISTS, _IMPORTED_BEFORE, known.user_ids[row.external_id])
    if row.email_key in known.user_emails:
        return Decision(row, Outcome.ALREADY_EXISTS, _HAS_ACCOUNT, known.user_emails[row.email_key])
    return None


_REPEATED = {
    "external_id": "external_id: an earlier line has the same ID",
    "email": "email: an earlier line has the same address",
}
_IMPORTED_BEFORE = "external_id: a user of this source already has this ID; the user was not changed"
_HAS_ACCOUNT = "email: a user already has this address; the user was not changed"


class LostRaceError(Exception):
    """A conflicting user blocked the insert and no longer exists: run the batch again."""


def settle(decisions: Sequence[Decision], inserted: Mapping[int, UUID], conflicts: KnownUsers) -> list[Decision]:
    """The decisions after the insert: with the IDs of `inserted` users (by line) and of concurrent `conflicts`.

    Raises:
        LostRaceError: a user was not inserted and no conflicting user exists.
    """
    settled = {}
    for decision in decisions:
        row, user_id = decision.row, decision.user_id
        if decision.outcome is Outcome.CREATED:
            assert isinstance(row, Candidate)
            user_id = inserted.get(row.line)
            outcome = replace(decision, user_id=user_id) if user_id else _existing_user(row, conflicts)
            if outcome is None:
                raise LostRaceError(row.line)
            settled[row.line] = outcome
        elif decision.same_as is not None:
            settled[row.line] = replace(decision, user_id=settled[decision.same_as].user_id)
        else:
            settled[row.line] = decision
    return list(settled.values())
