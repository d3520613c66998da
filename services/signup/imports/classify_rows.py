"""What becomes of each row, decided before anything is written. Pure.

Nobody who is known already is ever overwritten, and whoever stands in the file twice counts once: the first readable
line wins. A line that is no good, or repeats an earlier one, stands in nobody's way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from shared.contract.ids import UUID

from .row_parser import Candidate, Unreadable
from .states import Outcome


@dataclass(frozen=True, slots=True)
class KnownUsers:
    """Who is known by address key and by external ID: from earlier lines of the file, and among the users."""

    file_emails: Mapping[str, UUID | None]
    file_ids: Mapping[str, UUID | None]
    user_emails: Mapping[str, UUID]
    user_ids: Mapping[str, UUID]


@dataclass(frozen=True, slots=True)
class Decision:
    """`same_as` is the line of this batch whose user a duplicate is."""

    row: Candidate | Unreadable
    outcome: Outcome
    reason: str | None = None
    user_id: UUID | None = None
    same_as: int | None = None


def decide(rows: Iterable[Candidate | Unreadable], known: KnownUsers) -> list[Decision]:
    """In the order of the lines."""
    emails: dict[str, Decision] = {}
    ids: dict[str, Decision] = {}
    decisions = []
    for row in rows:
        if isinstance(row, Unreadable):
            decisions.append(Decision(row, Outcome.INVALID, row.reason))
            continue
        decision = (
            _repeated_here(row, emails, ids)
            or _repeated(row, known)
            or _exists(row, known)
            or Decision(row, Outcome.CREATED)
        )
        if decision.outcome is not Outcome.DUPLICATE:
            emails[row.email_key] = ids[row.external_id] = decision
        decisions.append(decision)
    return decisions


def _repeated_here(row: Candidate, emails: Mapping[str, Decision], ids: Mapping[str, Decision]) -> Decision | None:
    for field, seen in (("external_id", ids.get(row.external_id)), ("email", emails.get(row.email_key))):
        if seen is not None:
            return Decision(row, Outcome.DUPLICATE, _REPEATED[field], seen.user_id, seen.row.line)
    return None


def _repeated(row: Candidate, known: KnownUsers) -> Decision | None:
    if row.external_id in known.file_ids:
        return Decision(row, Outcome.DUPLICATE, _REPEATED["external_id"], known.file_ids[row.external_id])
    if row.email_key in known.file_emails:
        return Decision(row, Outcome.DUPLICATE, _REPEATED["email"], known.file_emails[row.email_key])
    return None


def _exists(row: Candidate, known: KnownUsers) -> Decision | None:
    if row.external_id in known.user_ids:
        return Decision(row, Outcome.ALREADY_EXISTS, _IMPORTED_BEFORE, known.user_ids[row.external_id])
    if row.email_key in known.user_emails:
        return Decision(row, Outcome.ALREADY_EXISTS, _HAS_ACCOUNT, known.user_emails[row.email_key])
    return None


_REPEATED = {
    "external_id": "external_id: an earlier line has the same",
    "email": "email: an earlier line has the same address",
}
_IMPORTED_BEFORE = "external_id: a user of this source has it already; nothing of theirs was changed"
_HAS_ACCOUNT = "email: a user has this address already; nothing of theirs was changed"


class LostRaceError(Exception):
    """Somebody was in the way of a new user, and is gone again: the batch has to be done once more."""


def settle(decisions: Sequence[Decision], inserted: Mapping[int, UUID], known_now: KnownUsers) -> list[Decision]:
    """The decisions after the writing: with the IDs of new users (by line), and with those who came in between.

    Raises:
        LostRaceError: it cannot be told why a user was not written.
    """
    settled = {}
    for decision in decisions:
        row, user_id = decision.row, decision.user_id
        if decision.outcome is Outcome.CREATED:
            assert isinstance(row, Candidate)
            user_id = inserted.get(row.line)
            outcome = replace(decision, user_id=user_id) if user_id else _exists(row, known_now)
            if outcome is None:
                raise LostRaceError(row.line)
            settled[row.line] = outcome
        elif decision.same_as is not None:
            settled[row.line] = replace(decision, user_id=settled[decision.same_as].user_id)
        else:
            settled[row.line] = decision
    return list(settled.values())
