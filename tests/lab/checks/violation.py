"""What a check answers with."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Violation:
    """`row` names the row or the client's request, `what` says what is wrong with it."""

    row: str
    what: str
