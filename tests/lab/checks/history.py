"""P7: history cannot be changed, and nothing is in a state that it does not tell."""

from collections.abc import Iterator

from tests.model.replay import first_strange_change

from ..evidence import Evidence
from .violation import Violation


def append_only(evidence: Evidence) -> list[Violation]:
    """P7: history is append-only, and the database enforces it."""
    return [*_tampering_is_refused(evidence), *_states_are_told(evidence)]


def follows_the_model(evidence: Evidence) -> list[Violation]:
    """Model: the history of each mail is a run of the model (docs/model.md)."""
    states: dict[str, list[str]] = {}
    for entry in evidence.entries:
        if entry.state is not None:
            states.setdefault(entry.mail_id, []).append(entry.state)
    strange = {mail: first_strange_change(told) for mail, told in states.items()}
    return [
        Violation(mail, f"went from {change[0]} to {change[1]}, which no step of the model does")
        for mail, change in strange.items()
        if change
    ]


def _tampering_is_refused(evidence: Evidence) -> Iterator[Violation]:
    for each in evidence.tampering:
        if not each.refused:
            yield Violation(each.service, f"a process may {each.statement.partition(' ')[0]} history")


def _states_are_told(evidence: Evidence) -> Iterator[Violation]:
    for mail in evidence.mails:
        # A claim writes no history: `sending` follows the state before it.
        if mail.state not in (mail.history_state, "sending"):
            yield Violation(mail.id, f"is {mail.state}, and history says {mail.history_state}")
    for user in evidence.users:
        if not {"user.signed_up", "user.imported"} & set(user.kinds):
            yield Violation(user.email, "exists, and history does not say since when")
        if user.status == "verified" and "user.verified" not in user.kinds:
            yield Violation(user.email, "is verified, and history does not say by what")
    for effect in evidence.effects:
        if effect.settled != effect.noted and effect.settled:
            yield Violation(effect.id, f"was delivered {effect.settled} times, and history has {effect.noted}")
