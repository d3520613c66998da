"""Both ledgers side by side: what each says of the mails that signup asked for. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.db.pool import Record

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Pair:
    """One mail. `outcome` is what the change feed told signup; `mail` the mail service's own entry."""

    request_id: str
    row: Json | Record
    outcome: Json | Record | None
    mail: Json | None
    # Why the two ledgers disagree; empty when they do not, or when one is not known.
    differs: str = ""
    # What signup's ledger has not heard yet: it follows by a second or so.
    behind: str = ""


def pairs_of(
    owed: Sequence[Json | Record], outcomes: Sequence[Json | Record], mails: Mapping[str, Json] | None
) -> list[Pair]:
    """Newest first. `mails` is by request ID; None: the mail service could not be asked."""
    known = {outcome["request_id"]: outcome for outcome in outcomes}
    pairs = []
    for row in owed:
        if row["effect"] == "mail":
            request_id = str(row["id"])
            outcome = known.get(request_id)
            mail = mails.get(request_id) if mails is not None else None
            differs = _difference(row["state"], outcome, mail) if mails is not None else ""
            pairs.append(Pair(request_id, row, outcome, mail, differs, _behind(outcome, mail)))
    return pairs


def _difference(state: str, outcome: Json | Record | None, mail: Json | None) -> str:
    if mail is None:
        return "handed over here, missing there" if state == "delivered" else ""
    if mail["lost"]:
        return "its entry there was deleted"
    if outcome is not None and outcome["sent_at"] is not None and mail["sent_at"] is None:
        return f"sent here, {mail['state']} there"
    return ""


def _behind(outcome: Json | Record | None, mail: Json | None) -> str:
    if mail is None or mail["lost"] or (outcome is not None and outcome["state"] == mail["state"]):
        return ""
    return f"{mail['state']} there, not yet reported here"
