"""Says promise by promise whether it held, with the rows that broke it."""

from dataclasses import dataclass

from .checks import PROMISES, Violation
from .evidence import Evidence


@dataclass(frozen=True)
class Verdict:
    promise: str
    text: str
    violations: tuple[Violation, ...]

    @property
    def held(self) -> bool:
        return not self.violations


def judge(evidence: Evidence) -> list[Verdict]:
    return [
        Verdict(name, (check.__doc__ or "").partition(": ")[2], tuple(check(evidence)))
        for name, check in PROMISES.items()
    ]
